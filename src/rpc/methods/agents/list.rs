//! `agents.list`: the configured agents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::agents::Agent;
use crate::gateway::identity::{self, Shown};
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
#[serde(rename_all = "camelCase")]
pub struct IdentityRow {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Theme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// Emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// Picture as it is configured: an address, a path in the workspace, or letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// The picture as an address that can be shown: for a file of the workspace a data URL, if it is an image of at most 2 MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
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
        let agents = configured.all().to_vec();
        let rows = tokio::task::spawn_blocking(move || agents.iter().map(|agent| row(agent)).collect());
        let agents: Vec<AgentRow> = rows.await.map_err(|error| RpcError::unavailable("the workspaces could not be read", error))?;
        Ok(ListReply {
            default_id: configured.default_id().clone(),
            main_key: key::MAIN,
            scope: cx.gateway.loaded().config.session.scope.name(),
            agents,
        })
    }
}

fn row(agent: &Agent) -> AgentRow {
    let shown = identity::of_agent(agent);
    let identity = (shown != Shown::default()).then_some(IdentityRow {
        name: shown.name,
        theme: shown.theme,
        emoji: shown.emoji,
        avatar: shown.avatar,
        avatar_url: shown.avatar_url,
    });
    AgentRow {
        id: agent.id.clone(),
        name: agent.name.clone(),
        identity,
        model: agent.model.clone(),
        runner: agent.runner.clone(),
        workspace: agent.workspace.display().to_string(),
    }
}
