//! `agent.identity.get`: how an agent is to be shown.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target;
use crate::gateway::identity;
use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Name and picture of an agent, for front ends: from `ui.assistant`, then the agent's `identity`, then `IDENTITY.md` in its workspace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityParams {
    /// The agent; the session's or the default one if absent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// A session of the agent.
    #[serde(default)]
    pub session_key: Option<String>,
}

/// How to show it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The agent.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// An address, a data URL (of a file in the workspace, at most 2 MB), or a few letters.
    pub avatar: String,
    /// An emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
}

/// `agent.identity.get`.
pub struct IdentityGet;

impl Method for IdentityGet {
    const NAME: &'static str = "agent.identity.get";
    const SCOPE: Scope = Scope::Read;
    type Params = IdentityParams;
    type Output = Identity;

    async fn call(cx: Call, params: IdentityParams) -> Result<Identity, RpcError> {
        let (agent, _) = target::resolve(&cx.gateway, Self::NAME, params.agent_id.as_deref(), params.session_key.as_deref())?;
        let (agent, loaded) = (agent.clone(), Arc::clone(&cx.gateway.loaded()));
        let agent_id = agent.id.clone();
        let shown = tokio::task::spawn_blocking(move || identity::of_assistant(&agent, loaded.config.ui.as_ref()));
        let shown = shown.await.map_err(|error| RpcError::unavailable("the workspace could not be read", error))?;
        Ok(Identity {
            agent_id,
            name: shown.name.unwrap_or_else(|| "Assistant".to_owned()),
            avatar: shown.avatar.unwrap_or_else(|| "A".to_owned()),
            emoji: shown.emoji,
        })
    }
}
