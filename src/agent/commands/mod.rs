//! The commands of a turn: started through the host, followed beside the loop, remembered for a while after their end.

mod command;
mod kept;
mod shown;
#[cfg(test)]
mod tests;

pub(super) use command::{Command, Ended};

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::host::{self, Host};
use super::spec::ExecRules;
use crate::exec::company::Company;
use crate::exec::execution::{Rules, follow_in};
use crate::exec::output::{Counts, Output};
use crate::exec::process::Running;
use crate::tasks::Tasks;
use command::Tee;

/// How long after its grace a command that was told to end is gone: its rest is swept and read within 2.6 s (`exec/execution.rs`), and a slow machine takes longer. Only what the kernel does not let go outlasts it.
const BEHIND_GRACE: Duration = Duration::from_secs(4);
/// Least room for the output of a command in the journal, bytes.
const LEAST_ROOM: u64 = 64 << 10;
/// Most ended commands that are remembered.
const MAX_REMEMBERED: usize = 64;

/// What a command is to be like.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The call.
    pub tool_call_id: String,
    /// What the shell is to run.
    pub text: String,
    /// The folder, absolute.
    pub cwd: std::path::PathBuf,
    /// Further variables.
    pub env: BTreeMap<String, String>,
    /// Time limit.
    pub timeout: Duration,
    /// Whether its input stays open for `process write`.
    pub open_input: bool,
    /// Whether it has a terminal.
    pub pty: bool,
}

/// The commands of a turn.
#[derive(Debug)]
pub(super) struct Commands {
    rules: ExecRules,
    company: Company,
    tasks: Tasks,
    /// Ends all of them.
    stop: CancellationToken,
    all: Mutex<Vec<Arc<Command>>>,
    /// What those that ended have printed.
    printed: Arc<Mutex<Counts>>,
}

impl Commands {
    /// None yet. They are of `company`, and end when `stop` fires.
    pub fn new(rules: ExecRules, stop: &CancellationToken, company: Company) -> Self {
        Self { rules, company, tasks: Tasks::new(), stop: stop.child_token(), all: Mutex::default(), printed: Arc::default() }
    }

    /// The rules.
    pub fn rules(&self) -> &ExecRules {
        &self.rules
    }

    /// How long the end of a command may take once it was told to end, or once its time was over.
    pub fn ending(&self) -> Duration {
        Duration::from_millis(self.rules.grace_ms).saturating_add(BEHIND_GRACE)
    }

    /// Has the host start a command and follows it.
    ///
    /// # Errors
    /// Why it did not start.
    pub async fn start(&self, host: &Arc<dyn Host>, wanted: Wanted) -> Result<Arc<Command>, host::NotStarted> {
        let not_started = |message: String| host::NotStarted { denied: None, message };
        let running = self.list().iter().filter(|command| command.ended().is_none()).count();
        if running >= self.rules.max_commands {
            return Err(not_started(format!(
                "{running} commands run already, which is the limit. Wait for one of them, or end it with process kill."
            )));
        }
        let (stdin, writer) =
            input(wanted.open_input && !wanted.pty).map_err(|error| not_started(format!("no pipe for its input: {error}")))?;
        let asked = host::Command {
            tool_call_id: wanted.tool_call_id.clone(),
            command: wanted.text.clone(),
            cwd: wanted.cwd.clone(),
            env: wanted.env.clone(),
            stdin,
            pty: wanted.pty,
        };
        let mut running = host.start(asked).await?;
        let writer = running.terminal.take().or(writer);
        let id = self.next_id();
        let command = Arc::new(Command::new(id, &wanted, running.leader.pid(), writer, self.stop.child_token()));
        self.lock().push(Arc::clone(&command));
        self.follow(Arc::clone(&command), running, host, wanted.timeout);
        Ok(command)
    }

    fn follow(&self, command: Arc<Command>, running: Running, host: &Arc<dyn Host>, timeout: Duration) {
        let sink = Tee::new(Arc::clone(&command), host.output(&command.tool_call_id));
        let room = self.rules.cap_bytes.saturating_sub(self.printed().kept()).max(LEAST_ROOM);
        let mut output = Output::new(sink, room, self.rules.tail_bytes);
        let printed = Arc::clone(&self.printed);
        let rules = Rules { grace: Duration::from_millis(self.rules.grace_ms), max_bytes_per_second: self.rules.max_bytes_per_second };
        let member = self.company.join(running.leader.pids());
        let limit = Instant::now() + timeout;
        self.tasks.spawn("command", async move {
            let stop = command.stop.clone();
            let mut following = Box::pin(follow_in(running, &mut output, rules, &stop, &member));
            let ended = tokio::select! {
                ended = &mut following => ended,
                () = tokio::time::sleep_until(limit) => {
                    command.time_is_over();
                    (&mut following).await
                }
            };
            drop(following);
            printed.lock().unwrap_or_else(PoisonError::into_inner).add(output.finish());
            output.sink().finish();
            command.finish(ended);
        });
    }

    /// All that are known, in the order in which they began.
    pub fn list(&self) -> Vec<Arc<Command>> {
        let mut all = self.lock();
        let keep = Duration::from_millis(self.rules.cleanup_ms);
        all.retain(|command| command.ended_for().is_none_or(|age| age < keep));
        let ended = all.iter().filter(|command| command.ended().is_some()).count();
        let mut too_many = ended.saturating_sub(MAX_REMEMBERED);
        all.retain(|command| {
            let goes = too_many > 0 && command.ended().is_some();
            too_many -= usize::from(goes);
            !goes
        });
        all.clone()
    }

    /// The commands that have ended in the background and of whose end the model has not been told; each once.
    pub fn news(&self) -> Vec<Arc<Command>> {
        if !self.rules.notify_on_exit {
            return Vec::new();
        }
        self.list().into_iter().filter(|command| command.take_news()).collect()
    }

    /// What those that ended have printed, together.
    pub fn printed(&self) -> Counts {
        *self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command of this id.
    pub fn find(&self, id: &str) -> Option<Arc<Command>> {
        self.list().into_iter().find(|command| command.id == id)
    }

    /// Ends those that run and waits for their end.
    pub async fn end(&self) {
        self.stop.cancel();
        self.tasks.stop(self.ending()).await;
    }

    fn next_id(&self) -> String {
        let all = self.lock();
        let last = all.last().and_then(|command| command.id.strip_prefix('p')?.parse::<u64>().ok());
        format!("p{}", last.unwrap_or(0) + 1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Command>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pipe for the input of a command, if it is to stay open.
fn input(open: bool) -> io::Result<(Option<OwnedFd>, Option<Sender>)> {
    if !open {
        return Ok((None, None));
    }
    let (reader, writer) = io::pipe()?;
    Ok((Some(reader.into()), Some(Sender::from_owned_fd(writer.into())?)))
}
