//! `agent.wait`: the outcome of a run, now or when it comes. Waiting never stops the run.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::protocol::error::RpcError;
use crate::protocol::ids::RunId;
use crate::protocol::run::Outcome;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Default of `timeoutMs`.
const DEFAULT_MS: u64 = 30_000;
/// Longest wait; longer ones are cut to it.
const MAX_MS: u64 = 24 * 3600 * 1000;

/// Wait for the outcome of a run, whichever connection started it, also after a restart. `timeout` means that the wait ended, not the run; an unknown run is waited for too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitParams {
    /// The run.
    #[schemars(length(min = 1, max = 256))]
    pub run_id: String,
    /// How long to wait in ms; 30,000 if absent, at most a day.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What came of the wait.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitReply {
    /// The run.
    pub run_id: RunId,
    /// The outcome's status, or `timeout` when the wait ended first; a run that itself timed out has an `outcome`.
    pub status: &'static str,
    /// When the work started, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When it ended, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// One line that a person understands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The same line when the run did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Seq of the run's last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<u64>,
    /// Everything known of the run's end; absent when the wait ended first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// `agent.wait`.
pub struct Wait;

impl Method for Wait {
    const NAME: &'static str = "agent.wait";
    const SCOPE: Scope = Scope::Write;
    type Params = WaitParams;
    type Output = WaitReply;

    async fn call(cx: Call, params: WaitParams) -> Result<WaitReply, RpcError> {
        let run_id = RunId(params.run_id);
        let wait = Duration::from_millis(params.timeout_ms.unwrap_or(DEFAULT_MS).min(MAX_MS));
        let ended = tokio::select! {
            ended = cx.gateway.runs.wait(&run_id, |run| cx.caller.knows(run), Instant::now() + wait) => ended?,
            () = cx.caller.closed.cancelled() => None,
        };
        let Some(ended) = ended else {
            return Ok(WaitReply {
                run_id,
                status: "timeout",
                started_at: None,
                ended_at: None,
                summary: None,
                error: None,
                head: None,
                outcome: None,
            });
        };
        let outcome = ended.outcome;
        let well = outcome.status == crate::protocol::run::RunStatus::Ok;
        Ok(WaitReply {
            run_id,
            status: outcome.status.name(),
            started_at: outcome.started_at,
            ended_at: Some(outcome.ended_at),
            summary: Some(outcome.summary.clone()),
            error: (!well).then(|| outcome.summary.clone()),
            head: Some(ended.head),
            outcome: Some(outcome),
        })
    }
}
