//! `exec.approval.get`: one approval with everything that is known of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::approvals::desk::view;
use crate::protocol::approval::ApprovalView;
use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// One approval, whatever became of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetParams {
    /// The approval.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
}

/// The approval.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetReply {
    /// All of it.
    #[serde(flatten)]
    pub approval: ApprovalView,
    /// `request.command`, where other clients look for it.
    pub command_text: String,
    /// Always null: the text is short enough to be shown.
    pub command_preview: Option<String>,
    /// `request.host`.
    pub host: Option<String>,
    /// Always null: there are no nodes.
    pub node_id: Option<String>,
    /// `request.agentId`.
    pub agent_id: Option<AgentId>,
}

/// `exec.approval.get`.
pub struct Get;

impl Method for Get {
    const NAME: &'static str = "exec.approval.get";
    const SCOPE: Scope = Scope::Approvals;
    type Params = GetParams;
    type Output = GetReply;

    async fn call(cx: Call, params: GetParams) -> Result<GetReply, RpcError> {
        let approval = view(&cx.gateway.approvals.find(&params.id).await?);
        let request = &approval.request;
        let (command_text, host, agent_id) = (request.command.clone(), request.host.clone(), request.agent_id.clone());
        Ok(GetReply { approval, command_text, command_preview: None, host, node_id: None, agent_id })
    }
}
