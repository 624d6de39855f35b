//! `exec.approval.*`: somebody is asked, has decided, or is not asked any more.

use schemars::JsonSchema;
use serde::Serialize;

use crate::protocol::approval::{ApprovalRequest, ApprovalState, Decision};
use crate::protocol::ids::RunId;

/// Payload of `exec.approval.requested`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequested {
    /// The approval.
    pub id: String,
    /// What is to be run.
    pub request: ApprovalRequest,
    /// What a person is shown, escaped, at most 4 KiB.
    pub prompt: String,
    /// SHA-256 of everything that the approval is bound to, hexadecimal.
    pub digest: String,
    /// What may be decided.
    pub allowed_decisions: Vec<Decision>,
    /// The run that waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// How many different approvers must allow it.
    pub needed: u32,
    /// When it was asked for, ms since the epoch.
    pub created_at_ms: u64,
    /// Until when it waits, ms since the epoch.
    pub expires_at_ms: u64,
}

/// Payload of `exec.approval.resolved`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalResolved {
    /// The approval.
    pub id: String,
    /// What was decided.
    pub decision: Decision,
    /// Whose credential decided, as the gateway knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// The run that waited for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// When, ms since the epoch.
    pub ts: u64,
}

/// Payload of `exec.approval.expired`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalExpired {
    /// The approval.
    pub id: String,
    /// `expired` when nobody decided in time, `cancelled` when what asked for it is gone.
    pub state: ApprovalState,
    /// Why it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The run that waited for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// When, ms since the epoch.
    pub ts: u64,
}
