//! What a run with a model is told when its turn comes: of the built-in agent the conversation so far and the models that may answer, of an agent program how it is started and which of its own conversations goes on. It holds keys, so it is never stored: it is made anew and goes to the shim over the private stream.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use super::control::{AgentTask, RunSpec};
use super::end::unavailable;
use super::live::Live;
use super::native;
use super::policy::refused;
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::model::Message;
use crate::programs::spec::{Approvals, Kind, ProgramSpec};
use crate::protocol::run::Outcome;
use crate::store::record::RunRecord;

/// The name of the runner that is the built-in agent.
pub const AGENT: &str = "agent";

/// What a session remembers when a turn begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// The conversation so far, oldest first; empty for programs, which keep their own.
    pub history: Vec<Remembered>,
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
    /// The conversation of the run's program, as the program names it.
    pub program: Option<ProgramSession>,
}

/// A message of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The `provider/model` that made it.
    pub by: Option<String>,
    /// When it was said, ms since the epoch; 0 if that is not known.
    pub at: u64,
    /// The message.
    pub message: Message,
}

/// A conversation that a program keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSession {
    /// Its name, as the program gave it.
    pub reference: String,
    /// The folder in which it was begun, if that is known; elsewhere the program does not find it.
    pub cwd: Option<PathBuf>,
}

/// What a run is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// A turn of the built-in agent.
    Agent(Box<AgentTask>),
    /// A turn of an agent program.
    Program(Box<ProgramTask>),
}

/// A turn of an agent program.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramTask {
    /// The turn.
    pub spec: ProgramSpec,
    /// Where it keeps its state: to be read and written also by runs that are shut in.
    pub writable: Vec<PathBuf>,
}

/// Knows the configuration of models and programs.
pub trait Briefing: Debug + Send + Sync {
    /// What a run of the built-in agent is told.
    ///
    /// # Errors
    /// One line: why it cannot run, and what to do about it.
    fn brief(&self, run: &RunRecord, work: &Work, recalled: Recalled) -> Result<AgentTask, String>;

    /// What a run of an agent program is told; `approvals` is who decides about its commands.
    ///
    /// # Errors
    /// One line: why it cannot run, and what to do about it.
    fn brief_program(
        &self,
        kind: Kind,
        run: &RunRecord,
        work: &Work,
        recalled: Recalled,
        approvals: Approvals,
    ) -> Result<ProgramTask, String>;
}

impl Supervisor {
    /// What a run is told that has a model; none for others.
    ///
    /// # Errors
    /// The end of the run: why it cannot work.
    pub(super) async fn brief(&self, live: &Arc<Live>, work: &Work) -> Result<Option<Task>, Box<Outcome>> {
        let kind = Kind::of_runner(&live.record.runner);
        if live.record.runner != AGENT && kind.is_none() {
            return Ok(None);
        }
        let approvals = match kind {
            Some(kind) => self.rule_of(live, work).and_then(|rule| native::approvals(kind, &rule)).map_err(|denied| {
                self.note_denied(live, work, &denied.token);
                Box::new(refused(denied))
            })?,
            None => Approvals::default(),
        };
        let unable = |why: String| Box::new(unavailable(why));
        let recalled = self.inner.chronicle.recall(&live.record).await.map_err(unable)?;
        let (settings, record, work) = (self.settings(), live.record.clone(), work.clone());
        // It reads pictures that came with the message.
        let task = tokio::task::spawn_blocking(move || match kind {
            Some(kind) => {
                let task = settings.briefing.brief_program(kind, &record, &work, recalled, approvals);
                task.map(|task| Task::Program(Box::new(task)))
            }
            None => settings.briefing.brief(&record, &work, recalled).map(|task| Task::Agent(Box::new(task))),
        });
        let fault = || Err("the turn could not be prepared; this is a fault of the gateway".to_owned());
        task.await.unwrap_or_else(|_| fault()).map(Some).map_err(unable)
    }
}

impl Task {
    /// Puts the task into the spec of its run.
    pub(super) fn into_spec(self, spec: &mut RunSpec) {
        match self {
            Self::Agent(task) => spec.agent = Some(task),
            Self::Program(task) => {
                let ProgramTask { spec: program, writable } = *task;
                spec.program = Some(Box::new(program));
                if let Some(confinement) = &mut spec.confinement {
                    confinement.writable = writable;
                }
            }
        }
    }
}
