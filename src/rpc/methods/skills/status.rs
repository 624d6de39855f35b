//! `skills.status`: the skills of an agent; there are none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::rpc::methods::agent::target;

/// The skills of an agent. Skills are for models, so this version has none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusParams {
    /// The agent; the default one if absent.
    #[serde(default)]
    pub agent_id: Option<String>,
}

/// No skills.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    /// The agent's workspace.
    pub workspace_dir: String,
    /// Where skills for all agents would be.
    pub managed_skills_dir: String,
    /// Always empty.
    pub skills: Vec<()>,
}

/// `skills.status`.
pub struct Status;

impl Method for Status {
    const NAME: &'static str = "skills.status";
    const SCOPE: Scope = Scope::Read;
    type Params = StatusParams;
    type Output = StatusReply;

    async fn call(cx: Call, params: StatusParams) -> Result<StatusReply, RpcError> {
        let (agent, _) = target::resolve(&cx.gateway, Self::NAME, params.agent_id.as_deref(), None)?;
        Ok(StatusReply {
            workspace_dir: agent.workspace.display().to_string(),
            managed_skills_dir: cx.gateway.loaded().paths.state_dir.join("skills").display().to_string(),
            skills: Vec::new(),
        })
    }
}
