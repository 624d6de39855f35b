//! What crosses from the async handle to the threads of the store: operations with their results, questions with their answers.

use super::approvals::{ApprovalFilter, ApprovalRecord};
use super::devices::{DeviceRows, DeviceWrite};
use super::error::StoreError;
use super::lockouts::LockoutRow;
use super::record::{Accepted, ExpiredRun, NewRun, RunFilter, RunPage, RunRecord};
use super::sessions::{Change, Import, Looks, SessionEdit, SessionFilter, SessionPage, SessionRecord};
use super::usage::{UsageFilter, UsageSum};
use crate::protocol::ids::{RunId, SessionKey};
use crate::protocol::run::{Outcome, RunStatus};

/// A change. Everything that is random or depends on the clock is decided before, so that the same operation always does the same.
#[derive(Clone, Debug)]
pub enum Op {
    /// Accept a run, unless its key was used.
    Accept(Box<Accept>),
    /// Note that a run moved on.
    SetStatus {
        /// The run.
        file_id: String,
        /// `queued` or `running`.
        status: RunStatus,
        /// When its work started.
        started_at: Option<u64>,
    },
    /// Note how a run ended.
    Finish {
        /// The run.
        file_id: String,
        /// How it ended.
        outcome: Box<Outcome>,
        /// Highest `seq` of its journal.
        head: u64,
        /// Whether its transcript lacks its end.
        untold: bool,
    },
    /// Note that a run's turn answers others too.
    Merge {
        /// The run that works.
        file_id: String,
        /// The others.
        merged: Vec<String>,
        /// What it is to do now, in the form of `spec`.
        spec: String,
    },
    /// Note that the transcripts of these runs are complete.
    Told {
        /// The runs.
        file_ids: Vec<String>,
    },
    /// Look whether the key of a run that cannot be accepted was used.
    Known(Box<NewRun>),
    /// Forget the idempotency keys of runs that ended at or before this time.
    DropKeys {
        /// Ms since the epoch.
        ended_until: u64,
        /// At most so many.
        limit: usize,
    },
    /// Forget these runs.
    Forget {
        /// The runs.
        file_ids: Vec<String>,
    },
    /// Change one session.
    EditSession {
        /// The session.
        key: SessionKey,
        /// The change.
        edit: SessionEdit,
    },
    /// Keep what a transcript looks like in lists.
    NoteLooks(Box<Looks>),
    /// Take rows of another store.
    ImportSessions(Box<Import>),
    /// Write an approval, unless somebody else changed it first.
    SaveApproval(Box<ApprovalRecord>),
    /// Forget approvals that were asked for at or before this time.
    DropApprovals {
        /// Ms since the epoch.
        created_until: u64,
        /// At most so many.
        limit: usize,
    },
    /// Write rows about devices, all or none.
    WriteDevices(Vec<DeviceWrite>),
    /// Remember a lock-out, and forget those that are long over.
    KeepLockout(LockoutRow),
    /// Pass through the writer; touches the disk only while writes fail, to find out whether they work again.
    Ping,
}

/// A run to accept and the ids to use where new ones are needed.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The run.
    pub run: NewRun,
    /// Its id on the wire if the wanted one is taken.
    pub spare_run_id: RunId,
    /// The id of its session if that is new.
    pub new_session_id: String,
}

/// The result of an [`Op`].
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// Of `Accept`.
    Accepted(Box<Accepted>),
    /// Of `Known`: what the key leads to.
    Known(Option<Box<Accepted>>),
    /// Of `Finish`: whether this was the first end. Of `SaveApproval`: whether it was written.
    First(bool),
    /// Of `EditSession`.
    Changed(Box<Change>),
    /// Of `DropKeys`, `Forget`, `DropApprovals` and `ImportSessions`: how many.
    Count(usize),
    /// Of the others.
    Done,
}

/// A question.
#[derive(Clone, Debug)]
pub enum Query {
    /// The run of this wire id.
    Run(RunId),
    /// The run of this file id.
    RunByFile(String),
    /// All runs that have not ended, oldest first.
    Unfinished,
    /// Runs that have ended and whose transcripts lack their end, oldest first, at most this many.
    Untold(usize),
    /// A page of runs.
    Runs(RunFilter),
    /// The session of this key.
    Session(SessionKey),
    /// A page of sessions.
    Sessions(Box<SessionFilter>),
    /// How many sessions, whatever the limit.
    CountSessions(Box<SessionFilter>),
    /// Whether rows of this file were taken before.
    WasImported(String),
    /// Approvals.
    Approvals(ApprovalFilter),
    /// All rows about devices.
    Devices,
    /// Sums over runs that ended.
    Usage(UsageFilter),
    /// The lock-outs that are remembered.
    Lockouts,
    /// Some runs that ended at or before this time, oldest end first.
    Expired {
        /// Ms since the epoch.
        ended_until: u64,
        /// At most so many.
        limit: usize,
    },
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// To `Run` and `RunByFile`.
    Run(Option<Box<RunRecord>>),
    /// To `Unfinished` and `Untold`.
    All(Vec<RunRecord>),
    /// To `Runs`.
    Page(RunPage),
    /// To `Session`.
    Session(Option<Box<SessionRecord>>),
    /// To `Sessions`.
    Sessions(SessionPage),
    /// To `CountSessions` and, as 0 or 1, to `WasImported`.
    Count(u64),
    /// To `Approvals`.
    Approvals(Vec<ApprovalRecord>),
    /// To `Devices`.
    Devices(Box<DeviceRows>),
    /// To `Usage`.
    Usage(Vec<UsageSum>),
    /// To `Lockouts`.
    Lockouts(Vec<LockoutRow>),
    /// To `Expired`.
    Expired(Vec<ExpiredRun>),
}

/// Where records are kept. Synchronous: a backend lives on a thread of the store and never on an async worker.
pub trait Backend: Send + 'static {
    /// Applies the operations in order in one transaction that is on stable storage when this returns `Ok`; one result for each.
    /// An operation that is refused changes nothing and leaves the others alone.
    ///
    /// # Errors
    /// Nothing was applied, or (for an error that [is fatal](StoreError::is_fatal)) it is unknown what was.
    fn apply(&mut self, batch: &[Op]) -> Result<Vec<Result<Applied, StoreError>>, StoreError>;

    /// Answers a question from what is committed.
    ///
    /// # Errors
    /// The question could not be answered.
    fn read(&mut self, query: &Query) -> Result<Found, StoreError>;

    /// Does what makes later work faster, while there is nothing else to do. Takes a few milliseconds at most.
    fn rest(&mut self) {}

    /// Moves everything from the write-ahead log into the database file.
    ///
    /// # Errors
    /// The device failed; what was committed is still in the log.
    fn checkpoint(&mut self) -> Result<(), StoreError>;
}
