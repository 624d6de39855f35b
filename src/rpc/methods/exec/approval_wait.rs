//! `exec.approval.waitDecision`: the decision about a command, whoever asked.

use schemars::JsonSchema;
use serde::Deserialize;

use super::approval_request::{DecisionReply, decided};
use crate::approvals::desk::decision_of;
use crate::protocol::approval::ApprovalState;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Wait for the decision about a command, whoever asked. One that was made before is answered at once, also of an earlier daemon.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitParams {
    /// The approval.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
}

/// `exec.approval.waitDecision`.
pub struct Wait;

impl Method for Wait {
    const NAME: &'static str = "exec.approval.waitDecision";
    const SCOPE: Scope = Scope::Approvals;
    type Params = WaitParams;
    type Output = DecisionReply;

    async fn call(cx: Call, params: WaitParams) -> Result<DecisionReply, RpcError> {
        if let Some(pending) = cx.gateway.approvals.awaiting(&params.id) {
            return decided(&cx, pending).await;
        }
        let record = cx.gateway.approvals.find(&params.id).await?;
        // One that nobody waits for any more is over, whatever the disk could still be told.
        let decision = if record.state == ApprovalState::Pending { None } else { decision_of(&record) };
        let (created_at_ms, expires_at_ms) = (record.created_at, record.expires_at);
        Ok(DecisionReply { id: record.id, status: None, decision: Some(decision), created_at_ms, expires_at_ms })
    }
}
