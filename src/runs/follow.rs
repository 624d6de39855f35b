//! One run from its turn to its outcome: start its shim, hand out its lines as they come, relay an abort, and know its end whatever happens to the shim.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::control::{self, FromShim, RunSpec, ToShim};
use super::live::{Ended, Live};
use super::supervisor::{Supervisor, unavailable};
use crate::clock::now_ms;
use crate::events::hub::Hub;
use crate::exec::env;
use crate::journal;
use crate::journal::reader::{Line, Reader};
use crate::protocol::event::agent::{AgentEvent, Lifecycle};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::runs::spec::Work;

/// How much of a journal is taken over in one go; a flood must not keep a worker from other runs.
const STEP_BYTES: usize = 256 << 10;
/// How long an abort may take beyond the grace period before the shim itself is killed.
const ABORT_MARGIN: Duration = Duration::from_secs(10);
/// How often a lost shim's lock is looked at.
const LOCK_POLL: Duration = Duration::from_millis(50);

impl Supervisor {
    /// Runs a run whose turn has come, to its end.
    pub(super) async fn run(&self, live: &Arc<Live>) -> Ended {
        self.announce(live);
        let work: Work = match serde_json::from_str(&live.record.spec) {
            Ok(work) => work,
            Err(cause) => return self.close_journal(live, unavailable(format!("the stored request cannot be read: {cause}"))),
        };
        if let Some(refusal) = work.refusal {
            let outcome = Outcome::without_work(RunStatus::Error, Some(refusal.code), refusal.summary, now_ms());
            return self.close_journal(live, outcome);
        }
        if let Some(reason) = live.abort_asked().borrow().clone() {
            let outcome = Outcome::without_work(RunStatus::Aborted, None, "aborted before it started", now_ms());
            return self.close_journal(live, Outcome { stop_reason: Some(reason), may_have_run: Some(false), ..outcome });
        }
        if let Err(cause) = make_workspace(&work.cwd) {
            return self.close_journal(live, unavailable(format!("the workspace {} cannot be made: {cause}", work.cwd.display())));
        }
        let started_at = now_ms();
        live.set_status(RunStatus::Running, Some(started_at));
        self.inner.store.note_status(&live.record.file_id, RunStatus::Running, Some(started_at));
        let spec = self.spec(live, work);
        match self.start_shim(live, &spec).await {
            Ok((stream, child)) => {
                let _child = child;
                self.follow(live, stream).await
            }
            Err(cause) => {
                error!(run_id = %live.record.run_id, %cause, "a run's host process could not be started");
                self.close_journal(live, unavailable(format!("the run's host process could not be started: {cause}")))
            }
        }
    }

    async fn start_shim(&self, live: &Live, spec: &RunSpec) -> io::Result<(UnixStream, tokio::process::Child)> {
        let journal = super::launcher::create_journal(&live.journal)?;
        let started = self.inner.launcher.start(spec, journal).await.map_err(io::Error::other)?;
        info!(run_id = %live.record.run_id, pid = started.pid, "run started");
        Ok((started.control, started.child))
    }

    fn spec(&self, live: &Live, work: Work) -> RunSpec {
        let settings = &self.inner.settings;
        RunSpec {
            v: journal::VERSION,
            run_id: live.record.run_id.clone(),
            session_key: live.record.session_key.clone(),
            agent_id: live.record.agent_id.clone(),
            file_id: live.record.file_id.clone(),
            runner: live.record.runner.clone(),
            env: env::of_run(&settings.env_passthrough, &work.shell, &live.record.file_id),
            message: work.message,
            shell: work.shell,
            cwd: work.cwd,
            timeout_ms: Some(work.timeout_ms),
            grace_ms: settings.grace_ms,
            output: settings.output.clone(),
            socket_path: self.socket_path(&live.record.file_id),
            tool_call_id: "exec-1".to_owned(),
        }
    }

    pub(super) fn socket_path(&self, file_id: &str) -> std::path::PathBuf {
        self.inner.settings.socket_dir.join(format!("{file_id}.sock"))
    }

    /// Follows a run whose shim is at the other end of `stream`, until its outcome is known.
    pub(super) async fn follow(&self, live: &Arc<Live>, stream: UnixStream) -> Ended {
        let (reader, writer) = stream.into_split();
        let mut tail = Tail::new(Arc::clone(live), Arc::clone(&self.inner.hub));
        if let Some(ended) = self.follow_stream(live, &mut tail, reader, writer).await {
            return ended;
        }
        // The stream is gone without a terminal line: the shim died, or only its socket did. The lock tells.
        self.await_lock(live, &mut tail).await
    }

    async fn follow_stream(&self, live: &Arc<Live>, tail: &mut Tail, mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf) -> Option<Ended> {
        let mut abort = live.abort_asked();
        let mut aborting: Option<Instant> = None;
        loop {
            let mut message = pin!(control::recv::<FromShim, _>(&mut reader));
            let got = loop {
                let kill_at = aborting.map(|since| since + Duration::from_millis(self.inner.settings.grace_ms) + ABORT_MARGIN);
                tokio::select! {
                    got = &mut message => break got,
                    asked = abort.wait_for(Option::is_some), if aborting.is_none() => {
                        let reason = asked.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "rpc".to_owned());
                        aborting = Some(Instant::now());
                        if let Err(cause) = control::send(&mut writer, &ToShim::Abort { reason }).await {
                            debug!(%cause, "an abort could not be told; the shim is ending");
                        }
                    }
                    () = tokio::time::sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                        warn!(run_id = %live.record.run_id, "a shim does not end; killing it");
                        aborting = Some(Instant::now() + Duration::from_secs(3600));
                        super::orphans::kill_host(&live.journal, &live.record.run_id);
                    }
                }
            };
            if let Some(ended) = tail.catch_up().await {
                return Some(ended);
            }
            match got {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Waits until a run's shim has let go of the journal, then reads or writes the terminal line.
    pub(super) async fn await_lock(&self, live: &Arc<Live>, tail: &mut Tail) -> Ended {
        loop {
            if let Some(ended) = tail.catch_up().await {
                return ended;
            }
            if matches!(super::launcher::is_locked(&live.journal), Ok(true)) {
                tokio::time::sleep(LOCK_POLL).await;
                continue;
            }
            let found = journal::scan::scan_path(&live.journal, &live.record.run_id);
            let outcome = match &found {
                Ok(found) => {
                    if let Some(host) = &found.host {
                        super::orphans::sweep_run(&live.record.file_id, host);
                    }
                    journal::close::interrupted(found, now_ms())
                }
                Err(cause) => {
                    error!(run_id = %live.record.run_id, %cause, "the journal of a run cannot be read");
                    let summary = format!("interrupted; its journal cannot be read: {cause}");
                    Outcome::without_work(RunStatus::Interrupted, Some(RunErrorCode::Unavailable), summary, now_ms())
                }
            };
            warn!(run_id = %live.record.run_id, "a run lost its host process");
            return self.close_journal(live, outcome);
        }
    }
}

/// Takes new lines over from a run's journal into its log.
pub(super) struct Tail {
    live: Arc<Live>,
    hub: Arc<Hub>,
    reader: Option<Reader>,
}

impl Tail {
    pub(super) fn new(live: Arc<Live>, hub: Arc<Hub>) -> Self {
        Self { live, hub, reader: None }
    }

    /// Everything that is there now. Returns the outcome if the last line is among it.
    pub(super) async fn catch_up(&mut self) -> Option<Ended> {
        loop {
            match self.step() {
                Ok(Step::Nothing) => return None,
                Ok(Step::Some) => tokio::task::yield_now().await,
                Ok(Step::Ended(ended)) => return Some(*ended),
                Err(cause) => {
                    if cause.kind() != io::ErrorKind::NotFound {
                        error!(run_id = %self.live.record.run_id, %cause, "the journal of a run cannot be read");
                    }
                    return None;
                }
            }
        }
    }

    fn step(&mut self) -> io::Result<Step> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let mut reader = Reader::open(&self.live.journal)?;
                reader.seek_seq(self.live.log.head())?;
                none.insert(reader)
            }
        };
        let lines = reader.read_after(STEP_BYTES)?;
        let Some(last) = lines.last().cloned() else { return Ok(Step::Nothing) };
        let ended = last.terminal.then(|| ended_of(&last)).flatten();
        if let Some(ended) = &ended {
            // Whoever sees the last event must find the run ended.
            self.live.set_status(ended.outcome.status, ended.outcome.started_at);
        }
        for line in lines {
            self.live.log.append(line.seq, line.bytes, line.terminal);
        }
        self.hub.ring();
        Ok(ended.map_or(Step::Some, |ended| Step::Ended(Box::new(ended))))
    }
}

enum Step {
    Nothing,
    Some,
    Ended(Box<Ended>),
}

/// Takes over the rest of a journal that nobody writes any more.
pub(super) fn catch_up(live: &Arc<Live>, hub: &Arc<Hub>) {
    let mut tail = Tail::new(Arc::clone(live), Arc::clone(hub));
    while let Ok(Step::Some) = tail.step() {}
}

fn ended_of(line: &Line) -> Option<Ended> {
    let event: AgentEvent = serde_json::from_slice(&line.bytes).ok()?;
    let lifecycle: Lifecycle = serde_json::from_value(event.data).ok()?;
    Some(Ended { outcome: lifecycle.into_outcome()?, head: line.seq })
}

fn make_workspace(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
