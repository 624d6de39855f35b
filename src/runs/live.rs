//! A run that has not ended, as the daemon holds it: its log, its state, and the two bells that somebody may ring or wait for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::log::RunLog;
use super::spec::Work;
use super::steer::Tells;
use crate::protocol::approval::AwaitedApproval;
use crate::protocol::ids::RunId;
use crate::protocol::run::{Outcome, RunRow, RunStatus};
use crate::store::record::RunRecord;

/// A run between acceptance and the commit of its outcome.
#[derive(Debug)]
pub struct Live {
    /// The run as it was accepted.
    pub record: RunRecord,
    /// Its journal file.
    pub journal: PathBuf,
    /// Its events.
    pub log: Arc<RunLog>,
    state: Mutex<(RunStatus, Option<u64>)>,
    host: OnceLock<Host>,
    abort: watch::Sender<Option<String>>,
    done: watch::Sender<Option<Ended>>,
    /// The run whose turn answers this one: file id and wire id.
    carrier: OnceLock<(String, RunId)>,
    /// The runs that this one's turn answers too.
    carried: Mutex<Vec<Arc<Live>>>,
    /// Its work, when that is not what it was accepted with.
    spec: OnceLock<String>,
    /// The approvals that it waits for, oldest first.
    approvals: Mutex<Vec<AwaitedApproval>>,
    /// The questions about its commands that are worked on, each with an approval that may be open.
    pub(super) asking: TaskTracker,
    /// The writing down of its message.
    opening: Mutex<Option<JoinHandle<()>>>,
    /// What it is to be told while it works.
    pub(super) tells: Tells,
}

/// The process that hosts a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks; needed for one that is not our child, whose pid may come to mean another.
    pub start_ticks: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The outcome.
    pub outcome: Outcome,
    /// Seq of the terminal line.
    pub head: u64,
}

impl Live {
    /// A run whose journal is at `journal`.
    #[must_use]
    pub fn new(record: RunRecord, journal: PathBuf) -> Arc<Self> {
        let log = Arc::new(
            RunLog::live(&record.file_id, record.run_id.clone(), record.session_key.clone(), journal.clone())
                .of(&record.principal)
                .by(&record.runner),
        );
        let state = Mutex::new((record.status, record.started_at));
        Arc::new(Self {
            record,
            journal,
            log,
            state,
            host: OnceLock::new(),
            abort: watch::Sender::new(None),
            done: watch::Sender::new(None),
            carrier: OnceLock::new(),
            carried: Mutex::default(),
            spec: OnceLock::new(),
            approvals: Mutex::default(),
            asking: TaskTracker::new(),
            opening: Mutex::default(),
            tells: Tells::default(),
        })
    }

    /// What the run is to do.
    ///
    /// # Errors
    /// The stored request cannot be read.
    pub fn work(&self) -> serde_json::Result<Work> {
        serde_json::from_str(self.spec())
    }

    /// The same, as it is stored.
    #[must_use]
    pub fn spec(&self) -> &str {
        self.spec.get().unwrap_or(&self.record.spec)
    }

    /// Changes what the run is to do; before its turn, and once.
    pub fn set_spec(&self, spec: String) {
        let _ = self.spec.set(spec);
    }

    /// Answers `other` too: it ends when and how this run does.
    pub fn carry(self: &Arc<Self>, other: &Arc<Self>) {
        if other.carrier.set((self.record.file_id.clone(), self.record.run_id.clone())).is_ok() {
            self.carried.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(other));
        }
    }

    /// The run whose turn answers this one: file id and wire id.
    #[must_use]
    pub fn carrier(&self) -> Option<&(String, RunId)> {
        self.carrier.get()
    }

    /// Whether this run's turn answers others too.
    #[must_use]
    pub fn carries(&self) -> bool {
        !self.carried.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whose messages this run's turn answers beside its own.
    #[must_use]
    pub fn carried_principals(&self) -> Vec<String> {
        let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        let mut principals: Vec<String> = carried.iter().map(|other| other.record.principal.clone()).collect();
        principals.retain(|principal| *principal != self.record.principal);
        principals.dedup();
        principals
    }

    /// Gives out the runs that this one's turn answered too.
    #[must_use]
    pub fn carried(&self) -> Vec<Arc<Self>> {
        std::mem::take(&mut *self.carried.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the task that writes the run's message down.
    pub fn set_opening(&self, task: JoinHandle<()>) {
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Waits until the run's message is written down, if that was begun.
    pub async fn opened(&self) {
        let task = self.opening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    /// Notes that the run waits for this approval.
    pub fn awaits(&self, approval: AwaitedApproval) {
        self.approvals.lock().unwrap_or_else(PoisonError::into_inner).push(approval);
    }

    /// Notes that it waits for this one no more.
    pub fn awaits_no_more(&self, id: &str) {
        self.approvals.lock().unwrap_or_else(PoisonError::into_inner).retain(|awaited| awaited.id != id);
    }

    /// Where the run stands.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Notes a new status and, if given, when the work started.
    pub fn set_status(&self, status: RunStatus, started_at: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = status;
        state.1 = started_at.or(state.1);
    }

    /// Notes which process hosts the run.
    pub fn set_host(&self, host: Host) {
        // A run has one host in its life with this daemon.
        let _ = self.host.set(host);
    }

    /// The process that hosts the run, once there is one.
    #[must_use]
    pub fn host(&self) -> Option<Host> {
        self.host.get().copied()
    }

    /// Asks for the end of the run; the first reason stays.
    pub fn ask_abort(&self, reason: &str) {
        self.abort.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(reason.to_owned());
            }
            first
        });
    }

    /// Changes when somebody asks for the end of the run.
    #[must_use]
    pub fn abort_asked(&self) -> watch::Receiver<Option<String>> {
        self.abort.subscribe()
    }

    /// Announces the outcome; it is committed. `tell` is called when it can be seen and nobody who waits for it has been woken.
    pub fn finish(&self, ended: Ended, tell: impl FnOnce()) {
        self.set_status(ended.outcome.status, ended.outcome.started_at);
        self.done.send_if_modified(|done| {
            *done = Some(ended);
            false
        });
        tell();
        self.done.send_modify(|_| ());
    }

    /// The outcome, if it is known.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.done.borrow().clone()
    }

    /// Waits for the outcome, until `deadline` if there is one.
    pub async fn wait(&self, deadline: Option<Instant>) -> Option<Ended> {
        let mut done = self.done.subscribe();
        let ended = async { done.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone()) };
        match deadline {
            None => ended.await,
            Some(deadline) => tokio::time::timeout_at(deadline, ended).await.ok().flatten(),
        }
    }

    /// The run as clients see it, at this place in the queue.
    #[must_use]
    pub fn row(&self, position: Option<usize>) -> RunRow {
        let mut row = row_of(&self.record);
        (row.status, row.started_at) = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        row.head = self.log.head();
        row.position = position;
        row.approval = self.approvals.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        row.merged_into = self.carrier().map(|carrier| carrier.1.clone());
        row.outcome = self.ended().map(|ended| ended.outcome);
        row
    }
}

/// A stored run as clients see it.
#[must_use]
pub fn row_of(record: &RunRecord) -> RunRow {
    RunRow {
        run_id: record.run_id.clone(),
        session_key: record.session_key.clone(),
        agent_id: record.agent_id.clone(),
        status: record.status,
        title: record.title.clone(),
        accepted_at: record.accepted_at,
        started_at: record.started_at.or(record.outcome.as_ref().and_then(|outcome| outcome.started_at)),
        position: None,
        approval: None,
        merged_into: record.outcome.as_ref().and_then(|outcome| outcome.merged_into.clone()),
        head: record.head,
        outcome: record.outcome.clone(),
    }
}
