//! The records that the store keeps and the questions it answers. No SQL here: other floors see only these.

use crate::clock;
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::run::{Outcome, RunStatus};

/// A run that a caller wants accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Name of the run on disk, a UUID v7 without dashes; also the name of its journal.
    pub file_id: String,
    /// The id that the client should see; replaced by a fresh one if a run has it already.
    pub run_id: RunId,
    /// Who asked.
    pub principal: String,
    /// The method that was called; keys of different methods do not meet.
    pub method: &'static str,
    /// The client's idempotency key.
    pub key: Option<String>,
    /// SHA-256 of the parameters.
    pub digest: [u8; 32],
    /// Its session, canonical; made if it does not exist.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// Name of its runner.
    pub runner: String,
    /// First line of the message, cut.
    pub title: String,
    /// JSON with all that is needed to start it later.
    pub spec: String,
    /// How it waits for its turn; none = in line.
    pub queue: Option<String>,
    /// Now, ms since the epoch.
    pub accepted_at: u64,
}

/// The answer to a [`NewRun`].
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// It is on disk and nobody has started it.
    New(RunRecord),
    /// This principal sent the same key with the same parameters before; here is that run.
    Same(RunRecord),
    /// This principal sent the same key with other parameters before.
    Conflict,
}

/// A run as the store knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Name of the run on disk.
    pub file_id: String,
    /// Name of the run on the wire.
    pub run_id: RunId,
    /// Who asked for it.
    pub principal: String,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// Name of its runner.
    pub runner: String,
    /// Where it stands.
    pub status: RunStatus,
    /// First line of the message, cut.
    pub title: String,
    /// JSON with all that is needed to start it; empty in pages of [`RunFilter`], which have no use for it.
    pub spec: String,
    /// When it was accepted, ms since the epoch.
    pub accepted_at: u64,
    /// When its work started.
    pub started_at: Option<u64>,
    /// How it ended; present exactly when `status` is an end.
    pub outcome: Option<Outcome>,
    /// Highest `seq` of its journal, known when it has ended (0 before).
    pub head: u64,
    /// How it waits for its turn; none = in line.
    pub queue: Option<String>,
    /// File id of the run whose turn answers it too, and with which it ends.
    pub merged_into: Option<String>,
}

impl RunRecord {
    /// Folder of its journal, `yyyy-mm`.
    #[must_use]
    pub fn journal_month(&self) -> String {
        clock::month(self.accepted_at)
    }
}

/// Which runs to list. The default is the newest 50.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFilter {
    /// Only of this principal.
    pub principal: Option<String>,
    /// Only of this session.
    pub session_key: Option<SessionKey>,
    /// Only in this status.
    pub status: Option<RunStatus>,
    /// At most so many, 1 to 200.
    pub limit: usize,
    /// Only older than this place, as an earlier page gave it.
    pub before: Option<RunCursor>,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self { principal: None, session_key: None, status: None, limit: 50, before: None }
    }
}

/// A place in the order of acceptance; on the wire it is an opaque decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCursor(pub u64);

/// Some runs, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// The runs, without their specs.
    pub runs: Vec<RunRecord>,
    /// Where the next page begins, if there may be one.
    pub next: Option<RunCursor>,
}

/// What [`prune`](super::Store::prune) did and what is left to the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many idempotency keys were forgotten.
    pub keys: usize,
    /// Runs past retention, oldest end first: delete their files, then call [`forget_runs`](super::Store::forget_runs).
    pub expired: Vec<ExpiredRun>,
}

/// A run that is past retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredRun {
    /// Name of the run on disk.
    pub file_id: String,
    /// Folder of its journal, `yyyy-mm`.
    pub journal_month: String,
}
