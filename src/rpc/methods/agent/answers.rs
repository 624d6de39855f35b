//! What `agent` answers: that the run is on disk, and how it ended.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::protocol::error::{ErrorCode, RpcError};
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::rpc::error::denied_code;
use crate::runs::handle::Handle;
use crate::runs::live::Ended;

/// First answer: the run is on disk.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The run.
    pub run_id: RunId,
    /// `accepted`; on protocol 4, `in_flight` for a repeated request.
    pub status: AckStatus,
    /// When it was accepted, ms since the epoch.
    pub accepted_at: u64,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// Its place in the queue if it has to wait, 1 = next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
}

/// What a first answer says.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// The run is on disk.
    Accepted,
    /// The run of an earlier, equal request is not over.
    InFlight,
}

/// Second answer: the run has ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Final {
    /// The run.
    pub run_id: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// Seq of its last event.
    pub head: u64,
    /// How it ended.
    pub status: RunStatus,
    /// One line that a person understands.
    pub summary: String,
    /// Everything known of its end; `status` and `summary` stand there too.
    pub result: Outcome,
    /// Exit code of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why it was aborted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// When the work started, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When it ended, ms since the epoch.
    pub ended_at: u64,
    /// How long the work took.
    pub duration_ms: u64,
}

/// Either answer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Reply {
    /// The first.
    Ack(Ack),
    /// The second.
    Final(Box<Final>),
}

/// The final as an answer: an error when the work was not served, with the same payload.
pub fn conclude(last: Final) -> Result<Reply, RpcError> {
    if last.result.served() { Ok(Reply::Final(Box::new(last))) } else { Err(error_of(&last)) }
}

/// The error for a run that was not served.
#[must_use]
pub fn not_served(handle: &Handle, ended: Ended) -> RpcError {
    error_of(&final_of(handle, ended))
}

fn error_of(last: &Final) -> RpcError {
    let code = match last.result.code {
        Some(RunErrorCode::AgentTimeout) => ErrorCode::AgentTimeout,
        Some(RunErrorCode::ExecDenied) => ErrorCode::ExecDenied,
        Some(RunErrorCode::Unavailable) | None => ErrorCode::Unavailable,
    };
    let mut error = RpcError::new(code, last.summary.clone()).with_detail("runId", json!(last.run_id));
    if let Some(denied) = &last.result.denied {
        error = error.with_code(denied_code(denied.code)).with_detail("token", json!(denied.token));
    }
    if let Some(fault) = &last.result.fault {
        error = error.with_code(fault);
    }
    error.payload = serde_json::to_value(last).ok().map(Box::new);
    error
}

/// The second answer for a run that has ended.
#[must_use]
pub fn final_of(handle: &Handle, ended: Ended) -> Final {
    let record = handle.record();
    let Ended { outcome, head } = ended;
    Final {
        run_id: record.run_id.clone(),
        session_key: record.session_key.clone(),
        agent_id: record.agent_id.clone(),
        head,
        status: outcome.status,
        summary: outcome.summary.clone(),
        exit_code: outcome.exit_code,
        signal: outcome.signal.clone(),
        stop_reason: outcome.stop_reason.clone(),
        started_at: outcome.started_at,
        ended_at: outcome.ended_at,
        duration_ms: outcome.duration_ms,
        result: outcome,
    }
}

/// The first answer for a run.
#[must_use]
pub fn ack(handle: &Handle, status: AckStatus, position: Option<usize>) -> Ack {
    let record = handle.record();
    Ack {
        run_id: record.run_id.clone(),
        status,
        accepted_at: record.accepted_at,
        session_key: record.session_key.clone(),
        agent_id: record.agent_id.clone(),
        position,
    }
}
