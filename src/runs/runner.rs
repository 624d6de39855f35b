//! What does a run's work. Runners live inside the shim; the daemon only knows their names.

use std::future::Future;
use std::pin::Pin;

use super::control::RunSpec;
use super::sink::RunSink;
use super::stop::Stop;
use crate::exec::process::{NO_ROOM, SpawnError};
use crate::protocol::run::{Denied, Outcome};

/// The future of a runner.
pub type Work = Pin<Box<dyn Future<Output = Result<Outcome, RunError>> + Send>>;

/// A way to do a run's work. It may start processes through `exec` only, watches `stop`, and need not clean up: the shim sweeps what is left.
pub trait Runner: Send + Sync {
    /// Does the work. The first line of the journal is written already; the last one follows from the outcome. Counters of CPU and memory are filled in by the shim.
    fn run(&self, job: Job, out: RunSink, stop: Stop) -> Work;
}

/// What a runner is given.
#[derive(Clone, Debug)]
pub struct Job {
    /// The task.
    pub spec: RunSpec,
    /// When the work started, ms since the epoch.
    pub started_at: u64,
    /// The same moment on the clock that never jumps.
    pub started: tokio::time::Instant,
}

/// The `fault` of a run for whose processes there was no room.
pub const RESOURCE: &str = "RESOURCE";

impl From<SpawnError> for RunError {
    fn from(failed: SpawnError) -> Self {
        if failed.is_shortage() { Self::Resource(format!("{failed}; {NO_ROOM}")) } else { Self::Unavailable(failed.to_string()) }
    }
}

/// Why a runner could not do the work at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something that it needs is not there. The text is for the user.
    #[error("{0}")]
    Unavailable(String),
    /// There is no room for its processes now. The text is for the user.
    #[error("{0}")]
    Resource(String),
    /// What was allowed is not what is there now.
    #[error("{}", .0.reason)]
    Denied(Denied),
}
