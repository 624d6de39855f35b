//! The daemon's side of every run: accepts it durably, starts it in its turn, follows its journal, commits its outcome.
//!
//! ```text
//! submit ──> row committed ──> [ticket] ──release──> queue ──turn──> shim + journal ──terminal line──> outcome committed ──> waiters
//! ```
//! A ticket holds the run back until its `accepted` is on its way, so that no event of a run can overtake its acknowledgement. The work itself is never here: see `shim.rs`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{SetOnce, broadcast, watch};
use tokio::time::Instant;
use tracing::warn;

use super::brief::Briefing;
use super::chronicle::Chronicle;
use super::errands::Errands;
use super::handle::Handle;
use super::hold::Held;
use super::launcher::Launcher;
use super::live::{Ended, Live};
use super::log::RunLog;
use super::queue::{Event, Full, Queue, Room};
use super::ticket::Ticket;
use crate::approvals::Approvals;
use crate::audit::Audit;
use crate::events::hub::Hub;
use crate::exec::policy::entries::ApprovalsFile;
use crate::failpoint::failpoint;
use crate::journal;
use crate::protocol::event::health::RunCounts;
use crate::protocol::ids::{RunId, SessionKey};
use crate::protocol::isolation::Cgroup;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::record::{Accepted, NewRun, RunRecord};
use crate::tasks::Tasks;

/// How many starts of runs a connection may lag behind before it looks at the whole list.
const ANNOUNCEMENTS: usize = 256;

/// Metadata services of clouds (169.254.169.254, fd00:ec2::254) give a machine's credentials to whoever asks here.
const METADATA_PORT: u16 = 80;

/// What the supervisor needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state directory.
    pub state_dir: PathBuf,
    /// Where control sockets of shims live.
    pub socket_dir: PathBuf,
    /// Most runs at work at once.
    pub max_concurrent: usize,
    /// Most runs at once that other runs have started or wait for.
    pub max_nested: usize,
    /// Room for runs of agent programs, which take much memory.
    pub heavy: Room,
    /// Time between TERM and KILL, in ms.
    pub grace_ms: u64,
    /// Bounds of a run's output.
    pub output: super::control::OutputLimits,
    /// Names of environment variables that runs get beside the usual ones.
    pub env_passthrough: Vec<String>,
    /// Whether the audit log gets the text of commands, `audit.commands`.
    pub audit_commands: bool,
    /// Which commands run.
    pub exec: super::policy::ExecRules,
    /// What no isolated run may see.
    pub protected: Vec<PathBuf>,
    /// The control group in which runs get groups of their own, if the gateway has one.
    pub cgroup: Option<Cgroup>,
    /// What runs with a model are told.
    pub briefing: Arc<dyn Briefing>,
}

/// Handle to the supervisor; clones are the same one.
#[derive(Clone)]
pub struct Supervisor {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    settings: RwLock<Arc<Settings>>,
    /// The gateway's own ports.
    ports: RwLock<Vec<u16>>,
    pub store: Store,
    pub launcher: Launcher,
    pub hub: Arc<Hub>,
    pub tasks: Tasks,
    pub chronicle: Arc<dyn Chronicle>,
    /// Who does the errands of tools.
    pub errands: SetOnce<Arc<dyn Errands>>,
    /// Who is asked about commands.
    pub desk: Approvals,
    pub audit: Audit,
    /// Which programs may run unasked.
    pub entries: ApprovalsFile,
    pub held: Mutex<Held>,
    pub queue: Mutex<Queue>,
    /// When the queue is to be looked at again, by its clock.
    pub alarm: Mutex<Option<u64>>,
    /// The zero of that clock.
    pub began: Instant,
    live: Mutex<HashMap<String, Arc<Live>>>,
    /// Changes whenever a run becomes live or ceases to be.
    changed: watch::Sender<u64>,
    feed: broadcast::Sender<Arc<RunLog>>,
}

/// The answer to a submission.
pub enum Submitted {
    /// The run is on disk; it starts when the ticket is released.
    New(Ticket),
    /// The same request was made before; here is its run.
    Same(Handle),
    /// The same key was used with other parameters.
    Conflict,
    /// Too many wait in its session, or in all.
    Full(Full),
}

impl Supervisor {
    /// A supervisor without runs.
    #[must_use]
    pub fn new(
        settings: Settings,
        store: Store,
        launcher: Launcher,
        hub: Arc<Hub>,
        tasks: Tasks,
        chronicle: Arc<dyn Chronicle>,
        desk: Approvals,
    ) -> Self {
        let mut queue = Queue::new(settings.max_concurrent, settings.max_nested);
        queue.set_room(settings.heavy);
        let queue = Mutex::new(queue);
        let entries = ApprovalsFile::new(settings.state_dir.clone());
        let inner = Inner {
            settings: RwLock::new(Arc::new(settings)),
            ports: RwLock::default(),
            store,
            launcher,
            hub,
            tasks,
            chronicle,
            errands: SetOnce::new(),
            audit: desk.audit(),
            desk,
            entries,
            held: Mutex::default(),
            queue,
            alarm: Mutex::default(),
            began: Instant::now(),
            live: Mutex::default(),
            changed: watch::Sender::new(0),
            feed: broadcast::Sender::new(ANNOUNCEMENTS),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Other settings, for runs that start from now on. The directories stay as they were.
    pub fn retune(&self, settings: Settings) {
        self.queue().set_max(settings.max_concurrent, settings.max_nested);
        self.queue().set_room(settings.heavy);
        let mut held = self.inner.settings.write().unwrap_or_else(PoisonError::into_inner);
        let Settings { state_dir, socket_dir, .. } = held.as_ref().clone();
        *held = Arc::new(Settings { state_dir, socket_dir, ..settings });
        drop(held);
        self.decide(Event::Tick);
    }

    /// The ports on which this gateway listens: isolated runs that start from now on cannot connect to them.
    pub fn listens_on(&self, ports: Vec<u16>) {
        *self.inner.ports.write().unwrap_or_else(PoisonError::into_inner) = ports;
    }

    /// Ports that isolated runs cannot connect to: ours, and that of the metadata services of clouds.
    pub(super) fn closed_ports(&self) -> Vec<u16> {
        let own = self.inner.ports.read().unwrap_or_else(PoisonError::into_inner);
        own.iter().copied().chain([METADATA_PORT]).collect()
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.inner.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a request durable. When this returns `New`, the run is on disk and will reach exactly one end.
    ///
    /// # Errors
    /// The store could not take it; then nothing runs.
    pub async fn submit(&self, new: NewRun) -> Result<Submitted, StoreError> {
        let place = match self.admit(&new.session_key, new.queue.as_deref()) {
            Ok(place) => place,
            // A request that was accepted before is answered as ever.
            Err(full) => match self.inner.store.known_run(new).await? {
                Some(known) => return self.known(known).await,
                None => return Ok(Submitted::Full(full)),
            },
        };
        match self.inner.store.accept_run(new).await? {
            Accepted::New(record) => {
                let place = place.keep();
                let live = self.add(record);
                failpoint!("runs.after_accept");
                Ok(Submitted::New(Ticket::new(self.clone(), place, live)))
            }
            known => self.known(known).await,
        }
    }

    /// The run that this request led to before, if it was made before; nothing is accepted.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn known_request(&self, new: NewRun) -> Result<Option<Submitted>, StoreError> {
        match self.inner.store.known_run(new).await? {
            Some(known) => self.known(known).await.map(Some),
            None => Ok(None),
        }
    }

    /// As [`Self::submit`], and lets go of `order` as soon as the request has its place among the others: whoever waits for it comes behind.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn submit_in_order<T>(&self, new: NewRun, order: T) -> Result<Submitted, StoreError> {
        let mut submitting = std::pin::pin!(self.submit(new));
        tokio::select! {
            biased;
            submitted = &mut submitting => return submitted,
            () = std::future::ready(()) => drop(order),
        }
        submitting.await
    }

    async fn known(&self, known: Accepted) -> Result<Submitted, StoreError> {
        match known {
            Accepted::New(record) | Accepted::Same(record) => Ok(Submitted::Same(self.handle(record).await?)),
            Accepted::Conflict => Ok(Submitted::Conflict),
        }
    }

    /// The run with this wire id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn find(&self, run_id: &RunId) -> Result<Option<Handle>, StoreError> {
        if let Some(live) = self.live_by_id(run_id) {
            return Ok(Some(Handle::Live(live)));
        }
        match self.inner.store.run(run_id).await? {
            None => Ok(None),
            Some(record) => Ok(Some(self.handle(record).await?)),
        }
    }

    /// Waits for the end of a run that may not exist yet and that `is_known` to who asks; any other does not exist for it. None = the deadline came first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn wait(
        &self,
        run_id: &RunId,
        is_known: impl Fn(&RunRecord) -> bool,
        deadline: Instant,
    ) -> Result<Option<Ended>, StoreError> {
        let mut changed = self.inner.changed.subscribe();
        loop {
            match self.find(run_id).await?.filter(|handle| is_known(handle.record())) {
                Some(handle) => return Ok(handle.wait(Some(deadline)).await),
                None => match tokio::time::timeout_at(deadline, changed.changed()).await {
                    Ok(Ok(())) => {}
                    _ => return Ok(None),
                },
            }
        }
    }

    /// Live runs of a session, oldest first.
    #[must_use]
    pub fn live_of(&self, session: &SessionKey) -> Vec<Arc<Live>> {
        let mut runs: Vec<_> = self.lives().values().filter(|live| live.record.session_key == *session).cloned().collect();
        runs.sort_by(|a, b| a.record.file_id.cmp(&b.record.file_id));
        runs
    }

    /// Live runs that this principal has started.
    #[must_use]
    pub fn live_by(&self, principal: &str) -> Vec<Arc<Live>> {
        self.lives().values().filter(|live| live.record.principal == principal).cloned().collect()
    }

    /// Logs of runs that start from now on.
    #[must_use]
    pub fn feed(&self) -> broadcast::Receiver<Arc<RunLog>> {
        self.inner.feed.subscribe()
    }

    /// Logs of the runs that have not ended.
    #[must_use]
    pub fn live_logs(&self) -> Vec<Arc<RunLog>> {
        self.lives().values().map(|live| Arc::clone(&live.log)).collect()
    }

    /// How many runs are at work and how many wait.
    #[must_use]
    pub fn counts(&self) -> RunCounts {
        let queue = self.queue();
        let ((running, queued), max) = (queue.counts(), queue.max());
        drop(queue);
        RunCounts { running, queued: queued + self.held_count(), max, awaiting_approval: self.inner.desk.waiting_runs() }
    }

    /// The place of a waiting run, 1 = next.
    #[must_use]
    pub fn position(&self, live: &Live) -> Option<usize> {
        self.queue().position(&live.record.file_id)
    }

    /// A log of a run's events, whatever its state.
    #[must_use]
    pub fn log_of(&self, handle: &Handle) -> Arc<RunLog> {
        match handle {
            Handle::Live(live) => Arc::clone(&live.log),
            Handle::Past(record) => {
                let path = self.journal_path(record);
                let log = RunLog::finished(&record.file_id, record.run_id.clone(), record.session_key.clone(), path, record.head);
                Arc::new(log.of(&record.principal).by(&record.runner))
            }
        }
    }

    pub(super) fn journal_path(&self, record: &RunRecord) -> PathBuf {
        journal::path(&self.settings().state_dir, record.accepted_at, &record.file_id)
    }

    /// Makes a stored run live; it has no place in the queue yet.
    pub(super) fn add(&self, record: RunRecord) -> Arc<Live> {
        let path = self.journal_path(&record);
        let live = Live::new(record, path);
        self.lives().insert(live.record.file_id.clone(), Arc::clone(&live));
        self.inner.changed.send_modify(|n| *n = n.wrapping_add(1));
        live
    }

    pub(super) fn announce(&self, live: &Arc<Live>) {
        // An error only means that nobody is connected.
        let _ = self.inner.feed.send(Arc::clone(&live.log));
    }

    /// A run has ended: its place is free, and it is found in the store from now on unless `kept`.
    pub(super) fn leave(&self, live: &Live, kept: bool) {
        if !kept {
            self.lives().remove(&live.record.file_id);
        }
        self.inner.changed.send_modify(|n| *n = n.wrapping_add(1));
        self.decide(Event::Ended(live.record.file_id.clone()));
    }

    async fn handle(&self, record: RunRecord) -> Result<Handle, StoreError> {
        let mut changed = self.inner.changed.subscribe();
        let mut record = record;
        loop {
            if let Some(live) = self.lives().get(&record.file_id).cloned() {
                return Ok(Handle::Live(live));
            }
            if record.status.is_terminal() {
                return Ok(Handle::Past(Box::new(record)));
            }
            // Between its commit and its entry here, or between its last commit and this look: one of the two is a moment away.
            match self.inner.store.run(&record.run_id).await? {
                Some(newer) if newer.status.is_terminal() => record = newer,
                _ => {
                    if tokio::time::timeout(Duration::from_secs(5), changed.changed()).await.is_err() {
                        warn!(run_id = %record.run_id, "a run is neither live nor ended");
                        return Ok(Handle::Past(Box::new(record)));
                    }
                }
            }
        }
    }

    fn live_by_id(&self, run_id: &RunId) -> Option<Arc<Live>> {
        self.lives().values().find(|live| live.record.run_id == *run_id).cloned()
    }

    pub(super) fn lives(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Live>>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
