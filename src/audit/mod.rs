//! The audit log: who did what, whether it was allowed, in records that cannot be changed unseen.
//!
//! ```text
//!  append / note ──> queue ──> desk (one at a time: write the group, sync it once) ──> answers
//!                                └── <state>/audit/000001.jsonl, 000002.jsonl …      head ──> health, log, head.json
//! ```
//! One record is one line; it names the hash of the one before it, and its own hash covers all of it. So nothing in the middle can be edited, removed or moved without a break, and records that are signed ([`key`]) make it impossible to compute the chain anew without the gateway's key.
//! What is cut off at the end shows only against a head that is kept elsewhere; therefore the head is in `health` and goes to the log, which a supervisor keeps in its own journal.
//!
//! No thread waits here for work: what is queued is written on a thread of the runtime's pool, which goes away again, so an idle gateway pays nothing.

pub mod action;
mod desk;
pub mod event;
mod keeper;
pub mod key;
pub mod record;
pub mod redact;
mod sampler;
pub mod segment;
pub mod verify;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

pub use self::action::Action;
use self::desk::Desk;
pub use self::event::{Decision, Event};
use self::key::Key;
use self::record::Hash;
use self::sampler::Sampler;
use crate::clock::now_ms;

/// Records that may wait to be written.
pub const QUEUE: usize = 1024;
/// At most so many records share one write and one sync.
const GROUP: usize = 256;
/// How long a caller waits for room in the queue.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// Size at which a segment is finished, in bytes.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Why a record was not written. Whatever needs its record must not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// No space; nothing was written, and it works again when there is space.
    #[error("the audit log cannot be written: the disk is full")]
    Full,
    /// The queue was full for as long as a caller waits. Worth another try.
    #[error("the audit log is behind: too many records wait to be written")]
    Busy,
    /// The write was refused; nothing was written.
    #[error("the audit log cannot be written: {0}")]
    Refused(String),
    /// A sync failed, or a broken write could not be undone: nothing more may be promised until a restart.
    #[error("the audit log is out of use since a failed write: {0}")]
    Broken(String),
    /// It was closed.
    #[error("the audit log is closed")]
    Closed,
}

impl AuditError {
    /// Whether the same call may succeed later without a restart.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Busy | Self::Refused(_))
    }
}

/// Why the audit log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the audit log in {dir} cannot be opened: {cause}")]
pub struct OpenError {
    /// Its directory.
    pub dir: String,
    /// What was wrong.
    pub cause: std::io::Error,
}

/// Whether records are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Yes, as far as known.
    #[default]
    Writing,
    /// The last write did not succeed; the next may.
    Failing(AuditError),
    /// No, for good.
    Broken(String),
}

/// The last record of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 = there is none.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Where the chain stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The last record that was written.
    pub head: Head,
    /// Whether all of it has been synced.
    pub synced: bool,
    /// Number of the segment that is written.
    pub segment: u64,
    /// Whether records are written.
    pub health: Health,
}

/// How large things get; the defaults are right, tests take smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size at which a segment is finished, in bytes.
    pub segment_bytes: u64,
    /// How many segments are kept; the oldest are deleted, and a signed record says which.
    pub segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, segments: 256 }
    }
}

/// A handle to the audit log; clones share it.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Mutex<Queue>,
    desk: Mutex<Desk>,
    room: Arc<Semaphore>,
    refusals: Mutex<Sampler>,
    state: watch::Sender<State>,
    key: Arc<Key>,
}

#[derive(Default)]
struct Queue {
    waiting: std::collections::VecDeque<Waiting>,
    /// Somebody is at the desk and will look here again before leaving.
    served: bool,
    /// Notes that found no room or could not be written.
    lost: u64,
    closed: bool,
}

/// A record that waits to be written.
pub(crate) struct Waiting {
    event: Event,
    ts: u64,
    answer: Option<oneshot::Sender<Result<(), AuditError>>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Audit {
    /// Opens the log in `dir`, making it if it is not there, and goes on behind its last whole record. `key` is the file of the gateway's key, made when it is not there. `boot` names this daemon in its records. Blocks; call it at start.
    ///
    /// What a crash left unfinished at the end is kept where it is, and a signed record says so.
    ///
    /// # Errors
    /// A file cannot be read or made, or the key is not one.
    pub fn open(dir: &Path, key: &Path, boot: &str, limits: Limits) -> Result<Self, OpenError> {
        let refused = |cause| OpenError { dir: dir.display().to_string(), cause };
        let key = Arc::new(Key::open(key).map_err(refused)?);
        let (desk, repairs) = Desk::open(dir, boot, Arc::clone(&key), limits).map_err(refused)?;
        let state = watch::Sender::new(desk.state());
        let room = Arc::new(Semaphore::new(QUEUE));
        let inner = Inner { queue: Mutex::default(), desk: Mutex::new(desk), room, refusals: Mutex::default(), state, key };
        let audit = Self { inner: Arc::new(inner) };
        let mut queue = audit.queue();
        for event in repairs {
            warn!(reason = event.reason.as_deref().unwrap_or_default(), "the audit log was not as it should be");
            queue.waiting.push_back(Waiting { event, ts: now_ms(), answer: None, _room: None });
        }
        drop(queue);
        Ok(audit)
    }

    /// Writes a record and waits until it is on stable storage. Call it within a runtime. A caller that is dropped meanwhile leaves the record in its place.
    ///
    /// # Errors
    /// Nothing was promised; what needs this record must not happen.
    pub async fn append(&self, event: Event) -> Result<(), AuditError> {
        let room = tokio::time::timeout(ROOM_WAIT, Arc::clone(&self.inner.room).acquire_owned()).await;
        let room = room.map_err(|_| AuditError::Busy)?.map_err(|_| AuditError::Closed)?;
        let (answer, written) = oneshot::channel();
        self.push(Waiting { event, ts: now_ms(), answer: Some(answer), _room: Some(room) })?;
        written.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Writes a record without waiting: it is in the file in a moment and synced with the next record that somebody waits for, or within a second. One for which there is no room is counted, and a later record tells the number. Call it within a runtime.
    pub fn note(&self, event: Event) {
        match Arc::clone(&self.inner.room).try_acquire_owned() {
            Ok(room) => {
                // After the end there is nobody left whose deed could be noted.
                let _ = self.push(Waiting { event, ts: now_ms(), answer: None, _room: Some(room) });
            }
            Err(_) => self.queue().lost += 1,
        }
    }

    /// As [`Self::note`], for what anybody can cause as often as he likes: beyond 100 a minute it is only counted, and a later record tells the number as `skipped`.
    pub fn note_refusal(&self, event: Event) {
        let admitted = self.refusals().admit(Instant::now());
        match admitted {
            Some(0) => self.note(event),
            Some(skipped) => self.note(event.with("skipped", skipped)),
            None => {}
        }
    }

    /// Where the chain stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.state.borrow().clone()
    }

    /// Whether records are written, and the last of them. Cheap: `health` asks for each call.
    #[must_use]
    pub fn head(&self) -> (bool, Head) {
        let state = self.inner.state.borrow();
        (state.health == Health::Writing, state.head.clone())
    }

    /// Whether records are written.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.inner.state.borrow().health == Health::Writing
    }

    /// The gateway's public key, as `audit key` prints it.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.inner.key.verifier().to_string()
    }

    /// Waits until nothing more may be promised; returns why.
    pub async fn broken(&self) -> String {
        let mut state = self.inner.state.subscribe();
        loop {
            if let Health::Broken(cause) = &state.borrow_and_update().health {
                return cause.clone();
            }
            if state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes `last` and closes the log.
    ///
    /// # Errors
    /// The last record could not be written.
    pub async fn close(&self, last: Event) -> Result<(), AuditError> {
        let skipped = self.refusals().rest();
        let written = self.append(if skipped > 0 { last.with("skipped", skipped) } else { last }).await;
        self.queue().closed = true;
        self.publish().await;
        written
    }

    fn push(&self, waiting: Waiting) -> Result<(), AuditError> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(AuditError::Closed);
        }
        queue.waiting.push_back(waiting);
        let alone = !std::mem::replace(&mut queue.served, true);
        drop(queue);
        if alone {
            let audit = self.clone();
            // Never waited for here: whoever needs the outcome has an answer coming.
            drop(tokio::task::spawn_blocking(move || audit.serve()));
        }
        Ok(())
    }

    /// Writes what waits, group by group, until nothing does.
    fn serve(&self) {
        let left = Left(&self.inner);
        loop {
            let (group, lost) = {
                let mut queue = self.queue();
                let count = queue.waiting.len().min(GROUP);
                let group: Vec<Waiting> = queue.waiting.drain(..count).collect();
                if group.is_empty() {
                    queue.served = false;
                    std::mem::forget(left);
                    return;
                }
                (group, std::mem::take(&mut queue.lost))
            };
            let outcome = {
                let mut desk = self.desk();
                let outcome = desk.write(&group, lost);
                self.tell(desk.state());
                outcome
            };
            if let Err(error) = &outcome {
                let notes = group.iter().filter(|waiting| waiting.answer.is_none()).count() as u64;
                self.queue().lost += lost + notes;
                warn!(%error, records = group.len(), "records of the audit log were not written");
            }
            for answer in group.into_iter().filter_map(|waiting| waiting.answer) {
                // Whoever waited may have left; that is their right.
                let _ = answer.send(outcome.clone());
            }
        }
    }

    fn tell(&self, now: State) {
        self.inner.state.send_if_modified(|state| {
            let changed = *state != now;
            *state = now;
            changed
        });
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.inner.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Sampler> {
        self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells everybody when the one at the desk is lost by a panic, so that nobody waits for ever.
struct Left<'i>(&'i Inner);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.health = Health::Broken("the writer of the audit log ended unexpectedly".to_owned()));
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.waiting.clear();
    }
}

#[cfg(test)]
mod tests;
