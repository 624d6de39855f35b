//! One command of a turn: what it is, what it printed, how it ended.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Sender;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Wanted;
use super::kept::Kept;
use super::shown::Shown;
use crate::exec::output::Sink;
use crate::exec::{execution, terminal};
use crate::protocol::event::agent::Source;

/// How long a command may take to read what is written to it.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked whether a command has its terminal by now; nobody tells us.
const TERMINAL_LOOK: Duration = Duration::from_millis(5);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) struct Ended {
    /// Exit code.
    pub exit_code: Option<i32>,
    /// Name of the signal that ended it.
    pub signal: Option<String>,
    /// Its time limit was over.
    pub timed_out: bool,
    /// Why its end is not known.
    pub lost: Option<String>,
}

/// A command.
#[derive(Debug)]
pub(in crate::agent) struct Command {
    /// The id by which the model names it.
    pub id: String,
    /// The call that started it.
    pub tool_call_id: String,
    /// What it is.
    pub text: String,
    /// Its process id.
    pub pid: u32,
    /// Ends it.
    pub stop: CancellationToken,
    /// Whether it has a terminal on which something can be typed.
    pub is_typed_to: bool,
    pty: bool,
    started: Instant,
    state: Mutex<State>,
    stdin: tokio::sync::Mutex<Option<Input>>,
    ended: watch::Sender<bool>,
}

/// Where a command reads from.
#[derive(Debug)]
struct Input {
    sender: Sender,
    /// It is a terminal that may not be the command's yet.
    awaited: bool,
}

#[derive(Debug, Default)]
struct State {
    output: Kept,
    /// How much of the output the model has been shown.
    shown: u64,
    timed_out: bool,
    ended: Option<(Ended, Instant)>,
    /// The model was told how it ended, or that it runs on.
    told: Told,
}

/// What the model knows of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Told {
    /// It waits for its result.
    #[default]
    Nothing,
    /// It runs in the background.
    RunsOn,
    /// It has ended.
    Ended,
}

impl Command {
    pub(super) fn new(id: String, wanted: &Wanted, pid: u32, stdin: Option<Sender>, stop: CancellationToken) -> Self {
        Self {
            id,
            tool_call_id: wanted.tool_call_id.clone(),
            text: wanted.text.clone(),
            pid,
            stop,
            is_typed_to: wanted.pty && stdin.is_some(),
            pty: wanted.pty,
            started: Instant::now(),
            state: Mutex::default(),
            stdin: tokio::sync::Mutex::new(stdin.map(|sender| Input { sender, awaited: wanted.pty })),
            ended: watch::channel(false).0,
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.lock().ended.as_ref().map(|(ended, _)| ended.clone())
    }

    /// How long ago it ended.
    pub fn ended_for(&self) -> Option<Duration> {
        self.lock().ended.as_ref().map(|(_, at)| at.elapsed())
    }

    /// How long it has run, or did.
    pub fn ran_for(&self) -> Duration {
        let state = self.lock();
        state.ended.as_ref().map_or_else(|| self.started.elapsed(), |(_, at)| at.duration_since(self.started))
    }

    /// The model is told that it goes on in the background.
    pub fn told_that_it_runs_on(&self) {
        self.lock().told = Told::RunsOn;
    }

    /// The model is told how it ended.
    pub fn told_of_its_end(&self) {
        self.lock().told = Told::Ended;
    }

    /// Whether it has ended in the background and the model has not been told; it counts as told from now on.
    pub fn take_news(&self) -> bool {
        let mut state = self.lock();
        let is_news = state.ended.is_some() && state.told == Told::RunsOn;
        if is_news {
            state.told = Told::Ended;
        }
        is_news
    }

    /// Whether its time was over before it ended.
    pub fn is_over_its_limit(&self) -> bool {
        self.lock().timed_out
    }

    /// Waits for its end, at most so long. Returns whether it has ended.
    pub async fn wait(&self, limit: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        // In two parts: when this process itself is held up, the time is over before the end that came meanwhile is seen.
        for _ in 0..2 {
            // The sender lives in this command, so only the limit can fail.
            if tokio::time::timeout(limit / 2, ended.wait_for(|ended| *ended)).await.is_ok() {
                return true;
            }
        }
        self.ended().is_some()
    }

    /// All of its output, as far as it is kept.
    pub fn output(&self) -> String {
        let mut state = self.lock();
        state.shown = state.output.total();
        state.output.since(0)
    }

    /// What it printed since it was last shown.
    pub fn fresh_output(&self) -> String {
        let mut state = self.lock();
        let total = state.output.total();
        let from = std::mem::replace(&mut state.shown, total);
        state.output.since(from)
    }

    /// How many bytes it printed.
    pub fn printed(&self) -> u64 {
        self.lock().output.total()
    }

    /// Writes to its input, and perhaps ends it.
    ///
    /// # Errors
    /// Why not, for the model.
    pub async fn write(&self, bytes: &[u8], close: bool) -> Result<(), String> {
        let mut stdin = self.stdin.lock().await;
        let Some(input) = stdin.as_mut() else {
            if self.pty {
                return Err(format!(
                    "Nothing can be typed to {}: a command from a list, or one that was approved, reads nothing.",
                    self.id
                ));
            }
            return Err(format!("The input of {} is not open. Start the command with background: true to write to it.", self.id));
        };
        let write = async {
            self.has_its_terminal(input).await?;
            input.sender.write_all(bytes).await
        };
        let written = tokio::time::timeout(WRITE_LIMIT, write).await;
        let awaited = input.awaited;
        if close {
            *stdin = None;
        }
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{} does not read its input: {error}.", self.id)),
            Err(_) if awaited => Err(format!("{} did not take its terminal within 5 s; nothing was typed.", self.id)),
            Err(_) => Err(format!("{} did not read its input within 5 s; only a part of it was written.", self.id)),
        }
    }

    /// Waits until the terminal is the command's. What is typed before is kept for it, but for the keys that make signals: they would go to nobody.
    async fn has_its_terminal(&self, input: &mut Input) -> io::Result<()> {
        while input.awaited && !terminal::is_taken(&input.sender) {
            if self.ended().is_some() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            tokio::time::sleep(TERMINAL_LOOK).await;
        }
        input.awaited = false;
        Ok(())
    }

    pub(super) fn time_is_over(&self) {
        self.lock().timed_out = true;
        self.stop.cancel();
    }

    pub(super) fn finish(&self, ended: io::Result<execution::Ended>) {
        let (status, lost) = match ended {
            Ok(ended) => (Some(ended.status), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut state = self.lock();
        let ended = Ended {
            exit_code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()).map(name_of),
            timed_out: state.timed_out,
            lost,
        };
        state.ended = Some((ended, Instant::now()));
        drop(state);
        self.ended.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a signal, such as `SIGKILL`.
fn name_of(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or_else(|_| format!("SIG{number}"), |signal| signal.as_str().to_owned())
}

/// Output on its way to the host and to the model.
pub(super) struct Tee {
    command: Arc<Command>,
    inner: Box<dyn Sink + Send>,
    /// For what comes from a terminal.
    shown: Shown,
}

impl Tee {
    /// For the output of `command`, and for `inner` as it comes.
    pub fn new(command: Arc<Command>, inner: Box<dyn Sink + Send>) -> Self {
        Self { command, inner, shown: Shown::default() }
    }

    /// Nothing comes any more.
    pub fn finish(&mut self) {
        self.command.lock().output.push(self.shown.rest());
    }
}

impl Sink for Tee {
    fn chunk(&mut self, source: Source, text: &str, dropped_bytes: Option<u64>) -> bool {
        let mut state = self.command.lock();
        if let Some(dropped) = dropped_bytes {
            state.output.push(self.shown.rest());
            state.output.push(&format!("\n[… {dropped} bytes left out …]\n"));
        }
        if self.command.pty {
            state.output.push(&self.shown.text(text));
        } else {
            state.output.push(text);
        }
        drop(state);
        self.inner.chunk(source, text, dropped_bytes)
    }
}
