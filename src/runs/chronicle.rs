//! Who writes down what was said in a session. The runs only say when: a turn begins, a turn is over.

use std::future::Future;
use std::pin::Pin;

use super::answer::Answer;
use super::brief::Recalled;
use super::spec::Work;
use super::spoken::Spoken;
use crate::protocol::run::Outcome;
use crate::store::record::RunRecord;

/// What a chronicler does, in its own time.
pub type Writing<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A turn that begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The run that works.
    pub run: RunRecord,
    /// Its work, as it is done: with the messages of runs that were merged into it.
    pub work: Work,
    /// When its turn came, ms since the epoch.
    pub at: u64,
}

/// A turn that is over.
#[derive(Clone, Debug)]
pub struct Closing {
    /// What it began with. A turn that an earlier daemon began may have been written down already, in part or whole.
    pub opening: Opening,
    /// What it said.
    pub answer: Answer,
    /// The same as messages, if a model speaks in it.
    pub spoken: Spoken,
    /// How it ended.
    pub outcome: Outcome,
}

/// What became of a turn that was to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whether it is written; if not, it is to be closed again at the next start.
    pub written: bool,
    /// The conversation that it belongs to; none if that is gone or cannot be looked up.
    pub session_id: Option<String>,
    /// What the session wants told of an answer's cost (`responseUsage`).
    pub response_usage: Option<String>,
}

/// Writes the conversation down.
pub trait Chronicle: Send + Sync {
    /// A turn is about to begin: its session may have to start afresh, or to be waited for.
    fn begin(&self, run: &RunRecord) -> Writing<()>;

    /// What the session remembers of the conversation before this run.
    fn recall(&self, run: &RunRecord) -> Writing<Result<Recalled, String>>;

    /// Notes what the user said. Nobody waits for it but the closing of the same turn.
    fn open(&self, opening: Opening) -> Writing<()>;

    /// Notes what was answered, and what the user said if that is missing, each once however often it is called.
    fn close(&self, closing: Closing) -> Writing<Recorded>;
}
