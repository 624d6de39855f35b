//! Approvals: who is asked, what they decide, and that it counts once and for nothing else.
//!
//! ```text
//! ask ──> row committed ──> approvers told ──> votes, each committed ──> who waits is told ──> consume, committed ──> start
//! ```
//! The row comes first in every step, and of two that meet in the store the first counts. How long an approval waits is measured by the clock that nobody can set, and only in the daemon that asked: a restart cancels what waits. What a run is bound to is its subject (`exec::policy::Subject`); here that is a digest.

pub mod desk;
pub mod file;
pub mod life;
pub mod question;
mod trail;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use self::life::{Decided, Refused};
pub use self::question::{AskError, Failure, Pending, Question};
use crate::audit::Audit;
use crate::clock::now_ms;
use crate::events::hub::Hub;
use crate::protocol::approval::{ApprovalState, AwaitedApproval, Decision, Party};
use crate::store::Store;
use crate::store::approvals::{ApprovalFilter, ApprovalRecord};
use crate::store::error::StoreError;
use crate::tasks::Tasks;

/// Most approvals that wait at a time: more than that nobody could read.
pub const MAX_PENDING: usize = 256;
/// Why a restart ends what waits.
pub const RESTART: &str = "restart";

/// What the configuration says about approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a run's approval waits.
    pub timeout: Duration,
    /// How many different approvers must allow it.
    pub needed: u32,
    /// Whether to wait for somebody who may decide, when nobody is connected who could.
    pub wait_for_approver: bool,
}

/// The approvals; clones are the same ones.
#[derive(Clone)]
pub struct Approvals {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    hub: Arc<Hub>,
    audit: Audit,
    tasks: Tasks,
    state_dir: PathBuf,
    settings: RwLock<Settings>,
    /// Those that can still lead to something in this daemon.
    live: Mutex<HashMap<String, Entry>>,
    /// Connections that may decide, with their principals.
    approvers: Mutex<HashMap<String, Arc<str>>>,
}

struct Entry {
    record: watch::Sender<ApprovalRecord>,
    deadline: Instant,
    /// On the disk, so that it may be shown.
    durable: bool,
}

/// The parts that approvals need.
pub struct Parts {
    /// Where they are kept.
    pub store: Store,
    /// Who is told.
    pub hub: Arc<Hub>,
    /// Where their steps are recorded.
    pub audit: Audit,
    /// The task group of the daemon.
    pub tasks: Tasks,
    /// Where `exec-approvals.json` lies.
    pub state_dir: PathBuf,
}

impl Approvals {
    /// No approvals; [`Self::recover`] comes next.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings) -> Self {
        let Parts { store, hub, audit, tasks, state_dir } = parts;
        let (live, approvers) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { store, hub, audit, tasks, state_dir, settings: RwLock::new(settings), live, approvers }) }
    }

    /// Cancels what waited in the daemon before this one. Returns how many there were.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let mut cancelled = 0;
        loop {
            let open = self.inner.store.approvals(ApprovalFilter { open: true, ..ApprovalFilter::default() }).await?;
            if open.is_empty() {
                break;
            }
            for record in open {
                if let Some(next) = life::cancel(&record, RESTART, now_ms())
                    && self.inner.store.save_approval(next.clone()).await?
                {
                    self.note(&next);
                    cancelled += 1;
                }
            }
        }
        if cancelled > 0 {
            info!(cancelled, "approvals that waited in the last daemon are cancelled");
        }
        Ok(cancelled)
    }

    /// The audit log that its steps stand in.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.inner.audit.clone()
    }

    /// Other settings, for what is asked from now on.
    pub fn retune(&self, settings: Settings) {
        *self.inner.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.inner.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, durably, and tells everybody who may decide.
    ///
    /// # Errors
    /// Nobody was asked.
    pub async fn ask(&self, question: Question) -> Result<Pending, AskError> {
        self.ask_shown(question, |_| ()).await
    }

    /// As [`Self::ask`]; `show` is called when the approval is durable and before anybody is told, so that whoever hears of it finds it wherever `show` puts it.
    ///
    /// # Errors
    /// Nobody was asked.
    pub async fn ask_shown(&self, question: Question, show: impl FnOnce(&AwaitedApproval)) -> Result<Pending, AskError> {
        let settings = self.settings();
        if !settings.wait_for_approver && !self.reachable(&question.requester, &question.others) {
            return Err(AskError::NoApprover);
        }
        let timeout = question.timeout.unwrap_or(settings.timeout);
        let record = question.into_record(settings.needed, timeout)?;
        let (sender, receiver) = watch::channel(record.clone());
        let deadline = Instant::now() + timeout;
        {
            let mut live = self.live();
            if live.len() >= MAX_PENDING {
                return Err(AskError::TooMany);
            }
            if live.contains_key(&record.id) {
                return Err(AskError::IdTaken);
            }
            live.insert(record.id.clone(), Entry { record: sender, deadline, durable: false });
        }
        let saved = self.inner.store.save_approval(record.clone()).await;
        if !matches!(saved, Ok(true)) {
            self.live().remove(&record.id);
            return Err(saved.err().map_or(AskError::IdTaken, AskError::Store));
        }
        if let Some(entry) = self.live().get_mut(&record.id) {
            entry.durable = true;
        }
        let awaited = AwaitedApproval { id: record.id.clone(), expires_at_ms: record.expires_at };
        show(&awaited);
        self.note(&record);
        self.tell_requested(&record);
        self.watch_deadline(record.id, deadline);
        Ok(Pending { awaited, created_at: record.created_at, record: receiver })
    }

    /// Ends the wait when the time is up, and forgets what nobody can use any more.
    fn watch_deadline(&self, id: String, deadline: Instant) {
        let this = self.clone();
        let Some(mut record) = self.live().get(&id).map(|entry| entry.record.subscribe()) else { return };
        self.inner.tasks.spawn("approval.deadline", async move {
            let over = |record: &ApprovalRecord| record.state != ApprovalState::Pending && !record.state.is_allowed();
            if tokio::time::timeout_at(deadline, record.wait_for(over)).await.is_err() {
                this.expire(&id).await;
            }
            this.live().remove(&id);
        });
    }

    async fn expire(&self, id: &str) {
        loop {
            let Ok(record) = self.find(id).await else { break };
            let Some(next) = life::expire(&record, now_ms()) else { return };
            match self.inner.store.save_approval(next.clone()).await {
                Ok(true) => return self.settle(next),
                Ok(false) => {}
                Err(cause) => {
                    warn!(id, %cause, "an approval that expired could not be written down; the next start cancels it");
                    break;
                }
            }
        }
        // Who waits must not wait for ever because the disk is full; that it is over is the safe side.
        let shown = self.live().get(id).map(|entry| entry.record.borrow().clone());
        if let Some(next) = shown.and_then(|record| life::expire(&record, now_ms())) {
            self.settle(next);
        }
    }

    /// Counts a vote. The first refusal and the last permission that is needed resolve the approval.
    ///
    /// # Errors
    /// It does not count.
    pub async fn decide(&self, id: &str, by: &Party, decision: Decision) -> Result<ApprovalRecord, Failure> {
        loop {
            let record = self.find(id).await?;
            if record.state == ApprovalState::Pending && !self.is_in_time(id) {
                return Err(Refused::Expired.into());
            }
            let next = match life::decide(&record, by, decision, now_ms())? {
                Decided::Same => return Ok(record),
                Decided::Next(next) => *next,
            };
            if self.inner.store.save_approval(next.clone()).await? {
                self.settle(next.clone());
                return Ok(next);
            }
        }
    }

    /// Uses an approval for the run that it was given to, if what is about to start is what was shown. The use is durable when this returns.
    ///
    /// # Errors
    /// Nothing may start. `Stale` is noted too, so that it stays so.
    pub async fn consume(&self, id: &str, file_id: &str, digest: &[u8; 32]) -> Result<ApprovalRecord, Failure> {
        loop {
            let record = self.find(id).await?;
            if record.state.is_allowed() && !self.is_in_time(id) {
                return Err(Refused::Expired.into());
            }
            let next = life::consume(&record, file_id, digest, now_ms())?;
            if self.inner.store.save_approval(next.clone()).await? {
                self.settle(next.clone());
                // Nothing starts that is not in the log.
                self.record(&next).await?;
                return if next.state == ApprovalState::Stale { Err(Refused::Stale.into()) } else { Ok(next) };
            }
        }
    }

    /// Ends an approval that nobody needs any more.
    ///
    /// # Errors
    /// It could not be written down; the next start does it.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<(), Failure> {
        loop {
            let record = self.find(id).await?;
            let Some(next) = life::cancel(&record, reason, now_ms()) else { return Ok(()) };
            if self.inner.store.save_approval(next.clone()).await? {
                self.settle(next);
                return Ok(());
            }
        }
    }

    /// One approval, as it stands on the disk.
    ///
    /// # Errors
    /// There is none of this id, or the store cannot be read.
    pub async fn find(&self, id: &str) -> Result<ApprovalRecord, Failure> {
        let filter = ApprovalFilter { id: Some(id.to_owned()), limit: 1, ..ApprovalFilter::default() };
        self.inner.store.approvals(filter).await?.pop().ok_or(Failure::Unknown)
    }

    /// The newest approval that this run asked for, in whichever daemon.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of_run(&self, file_id: &str) -> Result<Option<ApprovalRecord>, StoreError> {
        let filter = ApprovalFilter { file_id: Some(file_id.to_owned()), limit: 1, ..ApprovalFilter::default() };
        Ok(self.inner.store.approvals(filter).await?.pop())
    }

    /// Approvals of all times, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn all(&self, limit: usize) -> Result<Vec<ApprovalRecord>, StoreError> {
        self.inner.store.approvals(ApprovalFilter { limit, ..ApprovalFilter::default() }).await
    }

    fn is_in_time(&self, id: &str) -> bool {
        self.live().get(id).is_some_and(|entry| entry.deadline > Instant::now())
    }

    fn live(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
