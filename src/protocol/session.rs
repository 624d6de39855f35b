//! A session as clients see it in a list.

use schemars::JsonSchema;
use serde::Serialize;

use super::ids::{RunId, SessionKey};
use super::run::RunStatus;

/// One row of `sessions.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    /// The session.
    pub key: SessionKey,
    /// Always `direct` for an agent's own sessions.
    pub kind: &'static str,
    /// Id of the conversation inside the session; a reset makes a new one.
    pub session_id: String,
    /// Last use, ms since the epoch.
    pub updated_at: u64,
    /// First use, ms since the epoch.
    pub created_at: u64,
    /// How many runs it has had.
    pub run_count: u64,
    /// Its newest run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_id: Option<RunId>,
    /// How that run stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_status: Option<RunStatus>,
    /// Whether that run was aborted.
    pub aborted_last_run: bool,
}
