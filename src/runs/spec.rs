//! What the store keeps of a request so that its run can be started at any later time.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::protocol::run::RunErrorCode;

/// A run's work, complete: later changes of the configuration do not change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// The message; for the runner `shell`, the script.
    pub message: String,
    /// Working directory, made if absent.
    pub cwd: PathBuf,
    /// Shell that runs the script.
    pub shell: PathBuf,
    /// Time limit of the work in ms.
    pub timeout_ms: u64,
    /// Set when the run must end at once without any work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// Why a run may not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Code of the final response.
    pub code: RunErrorCode,
    /// One line that says what to do about it.
    pub summary: String,
}
