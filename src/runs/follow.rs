//! One run from its turn to its outcome: start its shim, hand out its lines as they come, relay an abort, and know its end whatever happens to the shim.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::ask::Desk;
use super::chat::Next;
use super::control::{self, FromShim, RunSpec, ToShim};
use super::end::{not_launched, unavailable, without_turn};
use super::launcher::{LaunchError, ShimChild};
use super::live::{Ended, Host, Live};
use super::policy::{Admitted, Which, refused};
use super::queue::Why;
use super::steer::{Tell, next_tell};
use super::supervisor::{Settings, Supervisor};
use crate::clock::now_ms;
use crate::events::hub::Hub;
use crate::exec::isolate::Confinement;
use crate::exec::policy::Denied;
use crate::exec::{cgroup, probe, proc};
use crate::failpoint::failpoint;
use crate::journal;
use crate::journal::reader::{Line, Reader};
use crate::journal::scan::Scan;
use crate::protocol::event::agent::{AgentEvent, Lifecycle, MESSAGE_CALL};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::runs::spec::Work;
use crate::tasks::Tasks;

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
        let work: Work = match live.work() {
            Ok(work) => work,
            Err(cause) => return self.close_journal(live, unavailable(format!("the stored request cannot be read: {cause}"))).await,
        };
        let mut abort = live.abort_asked();
        tokio::select! {
            () = self.inner.chronicle.begin(&live.record) => {}
            // A session that is being reset ends its runs and then waits for them.
            _ = abort.wait_for(Option::is_some) => {}
        }
        if let Some(refusal) = &work.refusal {
            self.note_denied(live, &work, &refusal.summary);
            let outcome = if refusal.code == RunErrorCode::ExecDenied {
                refused(Denied::by_rule("DENY", refusal.summary.clone()))
            } else {
                Outcome::without_work(RunStatus::Error, Some(refusal.code), refusal.summary.clone(), now_ms())
            };
            return self.close_journal(live, outcome).await;
        }
        let asked = live.abort_asked().borrow().clone();
        if let Some(reason) = asked {
            return self.close_journal(live, without_turn(Why::Asked, &reason)).await;
        }
        if let Err(cause) = make_workspace(&work.cwd) {
            let outcome = unavailable(format!("the workspace {} cannot be made: {cause}", work.cwd.display()));
            return self.close_journal(live, outcome).await;
        }
        let task = match self.brief(live, &work).await {
            Ok(task) => task,
            Err(outcome) => return self.close_journal(live, *outcome).await,
        };
        let admitted = match self.clear(live, &work, &Which::Message, &CancellationToken::new()).await {
            Ok(admitted) => admitted,
            Err(outcome) => return self.close_journal(live, *outcome).await,
        };
        let started_at = now_ms();
        live.set_status(RunStatus::Running, Some(started_at));
        // In order with the outcome, but nobody waits for its sync: the journal says what may have run.
        self.inner.store.note_status(&live.record.file_id, RunStatus::Running, Some(started_at));
        let mut spec = self.spec(live, work, admitted);
        if let Some(task) = task {
            task.into_spec(&mut spec);
        }
        match self.start_shim(live, &spec).await {
            Ok((stream, child)) => {
                // Behind the start, so that nobody waits for it.
                self.write_opening(live, started_at);
                self.follow(live, stream, Some(child)).await
            }
            Err(LaunchError::Unrecorded(cause)) => {
                error!(run_id = %live.record.run_id, %cause, "a run was not started, because there would be no record of it");
                self.close_journal(live, unavailable(format!("not started, because there would be no record of it: {cause}"))).await
            }
            Err(cause) => {
                error!(run_id = %live.record.run_id, %cause, "a run's host process could not be started");
                self.close_journal(live, not_launched(&cause)).await
            }
        }
    }

    async fn start_shim(&self, live: &Live, spec: &RunSpec) -> Result<(UnixStream, ShimChild), LaunchError> {
        let journal = super::launcher::create_journal(&live.journal).map_err(LaunchError::Spawn)?;
        failpoint!("runs.before_spawn");
        let started = self.inner.launcher.start(spec, journal, self.inner.audit.append(self.start_allowed(live, spec))).await?;
        failpoint!("runs.after_spawn");
        live.set_host(Host { pid: started.pid, start_ticks: None });
        info!(run_id = %live.record.run_id, pid = started.pid, "run started");
        Ok((started.control, started.child))
    }

    fn spec(&self, live: &Live, work: Work, Admitted { plan, env }: Admitted) -> RunSpec {
        let settings = self.settings();
        // A shim that knows no plans finds no shell either, and runs nothing.
        let shell = if plan.is_some() { String::new() } else { work.shell.to_string_lossy().into_owned() };
        let confinement = (!work.isolation.is_none()).then(|| self.confinement(&settings, &work));
        RunSpec {
            v: control::VERSION,
            run_id: live.record.run_id.clone(),
            session_key: live.record.session_key.clone(),
            agent_id: live.record.agent_id.clone(),
            file_id: live.record.file_id.clone(),
            runner: live.record.runner.clone(),
            env,
            message: work.message,
            shell,
            plan,
            cwd: work.cwd,
            timeout_ms: Some(work.timeout_ms),
            grace_ms: settings.grace_ms,
            output: settings.output,
            socket_path: Some(self.socket_path(&live.record.file_id)),
            tool_call_id: MESSAGE_CALL.to_owned(),
            cgroup: confinement.as_ref().and(settings.cgroup.clone()),
            program: None,
            confinement,
            agent: None,
        }
    }

    fn confinement(&self, settings: &Settings, work: &Work) -> Confinement {
        Confinement {
            isolation: work.isolation.clone(),
            protected: settings.protected.clone(),
            attachments: work.attachments.iter().map(|file| file.path.clone()).collect(),
            closed_ports: self.closed_ports(),
            bubblewrap: probe::bubblewrap(),
            ..Confinement::default()
        }
    }

    pub(super) fn socket_path(&self, file_id: &str) -> std::path::PathBuf {
        self.settings().socket_dir.join(format!("{file_id}.sock"))
    }

    /// Follows a run whose shim is at the other end of `stream`, until its outcome is known. `child` is the shim if this daemon started it.
    pub(super) async fn follow(&self, live: &Arc<Live>, stream: UnixStream, mut child: Option<ShimChild>) -> Ended {
        let mut tail = self.tail(live);
        let ended = match self.follow_stream(live, &mut tail, stream, &mut child).await {
            Some(ended) => ended,
            // The stream is gone without a terminal line: the shim died, or only its socket did. The lock tells.
            None => self.await_lock(live, &mut tail).await,
        };
        if let Some(mut child) = child {
            self.inner.tasks.spawn("shim.reap", async move {
                let _ = child.wait().await;
            });
        }
        ended
    }

    async fn follow_stream(&self, live: &Arc<Live>, tail: &mut Tail, stream: UnixStream, child: &mut Option<ShimChild>) -> Option<Ended> {
        let (mut reader, mut writer) = stream.into_split();
        let mut abort = live.abort_asked();
        let mut aborting: Option<Instant> = None;
        let mut desk = Desk::new(self, live);
        let mut tells = live.tells.receiver();
        loop {
            let mut message = pin!(control::receive::<FromShim>(&mut reader));
            let got = loop {
                let kill_at = aborting.map(|since| since + Duration::from_millis(self.settings().grace_ms) + ABORT_MARGIN);
                tokio::select! {
                    got = &mut message => break got,
                    Some(answer) = desk.answers.recv() => {
                        if let Err(cause) = control::send(&mut writer, &answer).await {
                            debug!(%cause, "an answer could not be told; the shim is ending");
                        }
                    }
                    Some(Tell { run, text }) = next_tell(&mut tells), if tells.is_some() => {
                        if let Err(cause) = control::send(&mut writer, &ToShim::Tell { tell: run, text }).await {
                            debug!(%cause, "a message could not be told; the shim is ending");
                        }
                    }
                    reason = asked(&mut abort), if aborting.is_none() => {
                        aborting = Some(Instant::now());
                        if let Err(cause) = control::send(&mut writer, &ToShim::Abort { reason }).await {
                            debug!(%cause, "an abort could not be told; the shim is ending");
                        }
                    }
                    () = tokio::time::sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                        warn!(run_id = %live.record.run_id, "a shim does not end; killing it");
                        aborting = Some(Instant::now() + Duration::from_secs(3600));
                        kill_host(live, child);
                    }
                }
            };
            if let Some(ended) = tail.catch_up().await {
                return Some(ended);
            }
            match got {
                Ok(Some(FromShim::Ask { ask, wanted })) => desk.ask(ask, *wanted),
                Ok(Some(FromShim::Errand { ask, errand })) => desk.errand(ask, errand),
                Ok(Some(FromShim::Withdraw { ask })) => desk.withdraw(ask),
                Ok(Some(FromShim::Told { tell, taken })) => self.steered(live, tell, taken).await,
                Ok(Some(FromShim::Len { .. } | FromShim::Unknown)) => {}
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
                    self.sweep(&live.record.file_id, found).await;
                    journal::close::interrupted(found, now_ms())
                }
                Err(cause) => {
                    error!(run_id = %live.record.run_id, %cause, "the journal of a run cannot be read");
                    let summary = format!("interrupted; its journal cannot be read: {cause}");
                    Outcome::without_work(RunStatus::Interrupted, Some(RunErrorCode::Unavailable), summary, now_ms())
                }
            };
            warn!(run_id = %live.record.run_id, "a run lost its host process");
            return self.close_journal(live, outcome).await;
        }
    }
}

impl Supervisor {
    /// Kills what a dead shim left behind.
    pub(super) async fn sweep(&self, file_id: &str, found: &Scan) {
        let Some(host) = found.host.clone() else { return };
        let (file_id, cgroup) = (file_id.to_owned(), self.settings().cgroup.clone());
        let sweep = move || {
            let swept = super::orphans::sweep_run(&file_id, &host);
            if let Some(parent) = cgroup {
                cgroup::end(&parent.path, &file_id);
            }
            swept
        };
        if let Ok(swept @ 1..) = tokio::task::spawn_blocking(sweep).await {
            warn!(swept, "processes of a lost run were killed");
        }
    }
}

/// Takes new lines over from a run's journal into its log.
pub(super) struct Tail {
    live: Arc<Live>,
    hub: Arc<Hub>,
    tasks: Tasks,
    reader: Option<Reader>,
}

impl Supervisor {
    /// A tail before the first line that the run's log has not got.
    pub(super) fn tail(&self, live: &Arc<Live>) -> Tail {
        Tail { live: Arc::clone(live), hub: Arc::clone(&self.inner.hub), tasks: self.inner.tasks.clone(), reader: None }
    }

    /// Takes over the rest of a journal that nobody writes any more.
    pub(super) fn catch_up(&self, live: &Arc<Live>) {
        let mut tail = self.tail(live);
        while let Ok(Step::Some) = tail.step() {}
    }
}

impl Tail {
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
        self.publish_chat();
        self.hub.ring();
        Ok(ended.map_or(Step::Some, |ended| Step::Ended(Box::new(ended))))
    }
}

impl Tail {
    /// Makes a delta of the new lines, or sees to it that one is made when its time has come.
    fn publish_chat(&self) {
        let Next::At(mut due) = self.live.log.chat.publish(Instant::now()) else { return };
        let (log, hub) = (Arc::clone(&self.live.log), Arc::clone(&self.hub));
        self.tasks.spawn("chat.delta", async move {
            loop {
                tokio::time::sleep_until(due).await;
                let next = log.chat.wake(Instant::now());
                hub.ring();
                match next {
                    Next::At(later) => due = later,
                    Next::Later => return,
                }
            }
        });
    }
}

/// The reason for which somebody asked for the end of the run.
pub(super) async fn asked(abort: &mut watch::Receiver<Option<String>>) -> String {
    let asked = abort.wait_for(Option::is_some).await;
    asked.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "rpc".to_owned())
}

/// Kills a shim that does not end its run.
fn kill_host(live: &Live, child: &mut Option<ShimChild>) {
    let killed = match child {
        Some(child) => child.kill().is_ok(),
        None => {
            let host = journal::scan::scan_path(&live.journal, &live.record.run_id).ok().and_then(|found| found.host);
            let process = host.and_then(|host| proc::stat(host.pid).filter(|stat| stat.start_ticks == host.start_ticks));
            process.is_some_and(|process| proc::kill_exactly(&process).unwrap_or(false))
        }
    };
    debug!(run_id = %live.record.run_id, killed, "the shim was to be killed");
}

enum Step {
    Nothing,
    Some,
    Ended(Box<Ended>),
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
