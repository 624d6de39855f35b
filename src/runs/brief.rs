//! What a run of the built-in agent is told when its turn comes: the conversation so far and the models that may answer. It holds keys, so it is never stored: it is made anew and goes to the shim over the private stream.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use super::control::AgentTask;
use super::live::Live;
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::model::Message;
use crate::store::record::RunRecord;

/// The name of the runner that is told this.
pub const RUNNER: &str = "agent";

/// What a session remembers when a turn begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// The conversation so far, oldest first, each message with the `provider/model` that made it.
    pub history: Vec<(Option<String>, Message)>,
    /// Files that earlier messages came with.
    pub files: Vec<PathBuf>,
    /// The session's own model: provider and name.
    pub model: Option<(Option<String>, String)>,
    /// The session's own thinking level.
    pub thinking: Option<String>,
    /// Whether it is the main session of its agent.
    pub is_main: bool,
    /// What the system noted for this turn, oldest first.
    pub notes: Vec<String>,
}

/// Knows the configuration of models.
pub trait Briefing: Debug + Send + Sync {
    /// What the run is told.
    ///
    /// # Errors
    /// One line: why it cannot run, and what to do about it.
    fn brief(&self, run: &RunRecord, work: &Work, recalled: Recalled) -> Result<AgentTask, String>;
}

impl Supervisor {
    /// What a run is told that is one of the built-in agent; none for others.
    ///
    /// # Errors
    /// One line: why it cannot run.
    pub(super) async fn brief(&self, live: &Arc<Live>, work: &Work) -> Result<Option<Box<AgentTask>>, String> {
        if live.record.runner != RUNNER {
            return Ok(None);
        }
        let recalled = self.inner.chronicle.recall(&live.record).await?;
        let (settings, record, work) = (self.settings(), live.record.clone(), work.clone());
        // It reads pictures that came with the message.
        let task = tokio::task::spawn_blocking(move || settings.briefing.brief(&record, &work, recalled)).await;
        task.unwrap_or_else(|_| Err("the turn could not be prepared; this is a fault of the gateway".to_owned())).map(Box::new).map(Some)
    }
}
