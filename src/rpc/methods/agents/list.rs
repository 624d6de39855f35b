//! `agents.list`: the configured agents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::sessions::key;

/// List the configured agents, the default one first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {}

/// The agents.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListReply {
    /// The agent of requests that name none.
    pub default_id: AgentId,
    /// The short key of an agent's main session.
    pub main_key: &'static str,
    /// `per-sender` or `global`.
    pub scope: String,
    /// One row each.
    pub agents: Vec<AgentRow>,
}

/// One agent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentRow {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How to show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityRow>,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What runs its turns.
    pub runner: String,
    /// Where its runs work.
    pub workspace: String,
}

/// How to show an agent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IdentityRow {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// Picture or letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
}

/// `agents.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "agents.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, _params: ListParams) -> Result<ListReply, RpcError> {
        let configured = cx.gateway.agents();
        let agents = configured.all().iter().map(|agent| AgentRow {
            id: agent.id.clone(),
            name: agent.name.clone(),
            identity: (agent.emoji.is_some() || agent.avatar.is_some() || agent.name.is_some()).then(|| IdentityRow {
                name: agent.name.clone(),
                emoji: agent.emoji.clone(),
                avatar: agent.avatar.clone(),
            }),
            model: agent.model.clone(),
            runner: agent.runner.clone(),
            workspace: agent.workspace.display().to_string(),
        });
        Ok(ListReply {
            default_id: configured.default_id().clone(),
            main_key: key::MAIN,
            scope: cx.gateway.loaded().config.session.scope.name(),
            agents: agents.collect(),
        })
    }
}
