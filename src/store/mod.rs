//! Durable records: runs, the idempotency keys that lead to them, sessions, devices, and approvals.
//!
//! [`Store`] is the async handle; behind it one thread writes (group commits) and one reads, because SQLite blocks. Only this module knows SQL.
//! What was answered is on stable storage. An operation whose caller stopped waiting is applied all the same.
//!
//! It deliberately does not keep output: that is the journal's, one file per run.

pub mod approvals;
#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod device_contract;
pub mod devices;
pub mod error;
pub mod fault;
pub mod lock;
pub mod lockouts;
mod log_room;
mod migrate;
#[cfg(test)]
mod old_files;
pub mod op;
pub mod record;
mod session_calls;
#[cfg(test)]
mod session_contract;
pub mod sessions;
mod sql_devices;
mod sql_read;
mod sql_sessions;
mod sql_write;
pub mod sqlite;
mod turns;
pub mod usage;
mod warm;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;
use uuid::Uuid;

pub use self::error::StoreError;
use self::op::{Accept, Applied, Backend, Found, Op, Query};
use self::record::{Accepted, NewRun, Pruned, RunFilter, RunPage, RunRecord};
use self::sqlite::Sqlite;
use self::warm::Warm;
pub use self::writer::{Health, Latency};
use self::writer::{Message, Meter, Writer};
use crate::protocol::ids::RunId;
use crate::protocol::run::{Outcome, RunStatus};

/// How long an answer may take after its thread has closed its queue.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// Operations that may wait for the writer.
pub const QUEUE: usize = 1024;
/// Questions that may wait for the reader.
const QUESTIONS: usize = 256;
/// How long a caller waits for room in a queue.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// How long the records of a run outlive it, in ms: 30 days.
pub const RETENTION_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// How many keys or runs one step of pruning takes, so that nobody waits long behind it.
const PRUNE_STEP: usize = 64;

enum Question {
    Asked(Box<Query>, oneshot::Sender<Result<Found, StoreError>>),
    Close(oneshot::Sender<()>),
}

/// A handle to the store; clones share it. The threads end when it is closed or the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Store {
    ops: mpsc::Sender<Message>,
    questions: mpsc::Sender<Question>,
    health: watch::Receiver<Health>,
    meter: Arc<Meter>,
    warm: Warm,
}

impl Store {
    /// Opens the database file, making or migrating it. Blocks; call it at start.
    ///
    /// # Errors
    /// The file cannot be used; the text names it and says what to do.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let writer = Sqlite::open(path)?;
        let reader = Sqlite::open_reader(path)?;
        Self::with(Box::new(writer), Box::new(reader))
    }

    /// A store over these backends: one to write, one to read what the other committed.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn with(writer: Box<dyn Backend>, reader: Box<dyn Backend>) -> Result<Self, StoreError> {
        let (ops, queue) = mpsc::channel(QUEUE);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (turned, health) = watch::channel(Health::Writing);
        let (meter, warm) = (Arc::new(Meter::default()), Warm::default());
        let writer = Writer::new(writer, queue, turned, Arc::clone(&meter), warm.clone());
        spawn("store-writer", move || writer.run())?;
        spawn("store-reader", move || answer_questions(reader, asked))?;
        Ok(Self { ops, questions, health, meter, warm })
    }

    /// Accepts a run, or finds the one that its key led to before. The row is durable when this returns.
    /// A caller that is dropped meanwhile leaves a run that nobody drives until the next start; so wait for it in a task that is not dropped.
    ///
    /// # Errors
    /// Nothing was promised, and the run must not start.
    pub async fn accept_run(&self, run: NewRun) -> Result<Accepted, StoreError> {
        let accept = Accept { run, spare_run_id: RunId::fresh(), new_session_id: Uuid::new_v4().to_string() };
        match self.apply(Op::Accept(Box::new(accept))).await? {
            Applied::Accepted(accepted) => Ok(*accepted),
            other => Err(mismatch(&other)),
        }
    }

    /// Notes that a run is `queued` or `running`, and waits until that is durable. A run that is further already stays there.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn set_status(&self, file_id: &str, status: RunStatus, started_at: Option<u64>) -> Result<(), StoreError> {
        self.apply(Op::SetStatus { file_id: file_id.to_owned(), status, started_at }).await.map(drop)
    }

    /// As [`Self::set_status`], but waits for nothing: it is written after what was asked before it.
    /// When the queue is full the note is left out and the log says so. That is harmless, because the run's end is never a note, and where a run stands before it is told by the run's own process.
    pub fn note_status(&self, file_id: &str, status: RunStatus, started_at: Option<u64>) {
        let op = Op::SetStatus { file_id: file_id.to_owned(), status, started_at };
        if let Err(error) = self.ops.try_send(Message::Op(op, None)) {
            warn!(file_id, status = status.name(), %error, "a note about a run was left out");
        }
    }

    /// Notes how a run ended. The first end stays; returns whether this was it.
    ///
    /// # Errors
    /// Nothing was written; `NotFound` when there is no such run.
    pub async fn finish_run(&self, file_id: &str, outcome: Outcome, head: u64) -> Result<bool, StoreError> {
        match self.apply(Op::Finish { file_id: file_id.to_owned(), outcome: Box::new(outcome), head, untold: false }).await? {
            Applied::First(first) => Ok(first),
            other => Err(mismatch(&other)),
        }
    }

    /// The run that clients know by this id.
    ///
    /// # Errors
    /// The question could not be answered; the same for all that follow.
    pub async fn run(&self, run_id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.one_run(Query::Run(run_id.clone())).await
    }

    /// The run of this name on disk.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn run_by_file(&self, file_id: &str) -> Result<Option<RunRecord>, StoreError> {
        self.one_run(Query::RunByFile(file_id.to_owned())).await
    }

    /// All runs without an end, oldest first.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn unfinished(&self) -> Result<Vec<RunRecord>, StoreError> {
        match self.ask(Query::Unfinished).await? {
            Found::All(runs) => Ok(runs),
            other => Err(mismatch(&other)),
        }
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn runs(&self, filter: RunFilter) -> Result<RunPage, StoreError> {
        match self.ask(Query::Runs(filter)).await? {
            Found::Page(page) => Ok(page),
            other => Err(mismatch(&other)),
        }
    }

    /// Forgets the keys of runs that ended 24 hours ago and names some runs that ended 30 days ago; an unfinished run keeps its key.
    /// Delete the files of those runs, then call [`Self::forget_runs`]: a crash between the two only means that the files are looked for again. Call it again at once while `expired` is not empty.
    ///
    /// # Errors
    /// Some of it may have been done.
    pub async fn prune(&self, now_ms: u64) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        if let Some(ended_until) = now_ms.checked_sub(sql_write::KEY_LIFE_MS) {
            loop {
                let n = self.count(Op::DropKeys { ended_until, limit: PRUNE_STEP }).await?;
                pruned.keys += n;
                if n < PRUNE_STEP {
                    break;
                }
            }
        }
        if let Some(ended_until) = now_ms.checked_sub(RETENTION_MS) {
            while self.count(Op::DropApprovals { created_until: ended_until, limit: PRUNE_STEP }).await? == PRUNE_STEP {}
            pruned.expired = match self.ask(Query::Expired { ended_until, limit: PRUNE_STEP }).await? {
                Found::Expired(runs) => runs,
                other => return Err(mismatch(&other)),
            };
        }
        Ok(pruned)
    }

    /// Forgets these runs, except those that have not ended. Returns how many are gone.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn forget_runs(&self, file_ids: Vec<String>) -> Result<usize, StoreError> {
        self.count(Op::Forget { file_ids }).await
    }

    /// Passes through the writer thread, behind all that waits there. While the disk is full it tries a small write.
    ///
    /// # Errors
    /// Writes do not work.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.apply(Op::Ping).await.map(drop)
    }

    /// Whether writes work, as of the last one.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Whether nothing more may be promised until a restart.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(*self.health.borrow(), Health::Poisoned(_))
    }

    /// Resolves with the cause when nothing more may be promised; the process must then end with exit code 70. Never resolves after an orderly close.
    pub async fn poisoned(&self) -> String {
        let mut health = self.health.clone();
        let cause = match health.wait_for(|health| matches!(health, Health::Poisoned(_))).await {
            Ok(health) => {
                if let Health::Poisoned(cause) = &*health {
                    Some(cause.clone())
                } else {
                    None
                }
            }
            Err(_) => None,
        };
        match cause {
            Some(cause) => cause,
            None => std::future::pending().await,
        }
    }

    /// How long commits take.
    #[must_use]
    pub fn latency(&self) -> Latency {
        self.meter.read()
    }

    /// How many operations wait for the writer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ops.max_capacity() - self.ops.capacity()
    }

    /// Commits what waits, moves the log into the file and closes it. Later calls answer `Closed`.
    ///
    /// # Errors
    /// The log could not be moved (it is complete and the next start does it), or the store was poisoned.
    pub async fn close(&self) -> Result<(), StoreError> {
        // The reader goes first, so that the writer is the last connection and takes the log away with it.
        let (closed, reader_is_gone) = oneshot::channel();
        if self.questions.send(Question::Close(closed)).await.is_ok() {
            let _ = reader_is_gone.await;
        }
        let (answer, result) = oneshot::channel();
        self.send(Message::Close(answer)).await?;
        result.await.map_err(|_| self.gone())?
    }

    async fn apply(&self, op: Op) -> Result<Applied, StoreError> {
        let (answer, result) = oneshot::channel();
        self.send(Message::Op(op, Some(answer))).await?;
        answered(result, &self.ops).await.ok_or_else(|| self.gone())?
    }

    async fn send(&self, message: Message) -> Result<(), StoreError> {
        use mpsc::error::SendTimeoutError;
        match self.ops.send_timeout(message, ROOM_WAIT).await {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Timeout(_)) => Err(StoreError::Busy),
            Err(SendTimeoutError::Closed(_)) => Err(self.gone()),
        }
    }

    async fn count(&self, op: Op) -> Result<usize, StoreError> {
        match self.apply(op).await? {
            Applied::Count(n) => Ok(n),
            other => Err(mismatch(&other)),
        }
    }

    async fn one_run(&self, query: Query) -> Result<Option<RunRecord>, StoreError> {
        match self.ask(query).await? {
            Found::Run(run) => Ok(run.map(|run| *run)),
            other => Err(mismatch(&other)),
        }
    }

    async fn ask(&self, query: Query) -> Result<Found, StoreError> {
        use mpsc::error::SendTimeoutError;
        let (answer, result) = oneshot::channel();
        match self.questions.send_timeout(Question::Asked(Box::new(query), answer), ROOM_WAIT).await {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return Err(StoreError::Busy),
            Err(SendTimeoutError::Closed(_)) => return Err(StoreError::Closed),
        }
        answered(result, &self.questions).await.ok_or(StoreError::Closed)?
    }

    /// Why nobody answers any more.
    fn gone(&self) -> StoreError {
        match self.health() {
            Health::Poisoned(cause) => StoreError::Poisoned(cause),
            Health::Writing | Health::Full => StoreError::Closed,
        }
    }
}

/// The answer, or none when the thread that owed it has ended. A message can slip into a queue while its reader is being dropped; nobody would ever drop the sender in it.
async fn answered<T, M>(mut answer: oneshot::Receiver<T>, queue: &mpsc::Sender<M>) -> Option<T> {
    tokio::select! {
        biased;
        got = &mut answer => got.ok(),
        // A queue that is being closed in order still answers what it took.
        () = queue.closed() => tokio::time::timeout(LAST_ANSWER, answer).await.ok()?.ok(),
    }
}

fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(drop).map_err(|error| StoreError::Refused(format!("cannot start the thread {name}: {error}")))
}

fn answer_questions(mut backend: Box<dyn Backend>, mut asked: mpsc::Receiver<Question>) {
    while let Some(question) = asked.blocking_recv() {
        match question {
            // Who asked may have left meanwhile; then there is nothing to look up.
            Question::Asked(_, answer) if answer.is_closed() => {}
            Question::Asked(query, answer) => drop(answer.send(backend.read(&query))),
            Question::Close(closed) => {
                drop(backend);
                let _ = closed.send(());
                return;
            }
        }
    }
}

fn mismatch(answer: &dyn std::fmt::Debug) -> StoreError {
    StoreError::Sql(format!("the backend answered another question: {answer:?}"))
}
