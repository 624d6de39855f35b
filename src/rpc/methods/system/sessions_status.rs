//! The parts of `status` about sessions and heartbeats.

use schemars::JsonSchema;
use serde::Serialize;

use crate::gateway::Gateway;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::run::RunStatus;
use crate::store::error::StoreError;
use crate::store::record::{SessionFilter, SessionRow};

/// How many sessions are listed, of all and of each agent.
const RECENT: usize = 10;

/// Regular wake-ups of the agents. There are none yet.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatStatus {
    /// The agent of requests that name none.
    pub default_agent_id: AgentId,
    /// One row each.
    pub agents: Vec<AgentHeartbeat>,
}

/// The wake-ups of one agent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentHeartbeat {
    /// The agent.
    pub agent_id: AgentId,
    /// Always false.
    pub enabled: bool,
    /// Always `disabled`.
    pub every: &'static str,
    /// Always null.
    pub every_ms: Option<u64>,
}

/// Sessions.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsStatus {
    /// Where they are kept.
    pub paths: Vec<String>,
    /// How many there are.
    pub count: u64,
    /// What sessions get unless they say otherwise.
    pub defaults: SessionDefaultsStatus,
    /// The last used of all, newest first.
    pub recent: Vec<SessionStatus>,
    /// The same for each agent.
    pub by_agent: Vec<AgentSessions>,
}

/// What sessions get unless they say otherwise.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDefaultsStatus {
    /// The default agent's model.
    pub model: Option<String>,
    /// Size of its context in tokens, if the configuration says.
    pub context_tokens: Option<u64>,
}

/// Sessions of one agent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSessions {
    /// The agent.
    pub agent_id: AgentId,
    /// Where they are kept.
    pub path: String,
    /// How many there are.
    pub count: u64,
    /// The last used, newest first.
    pub recent: Vec<SessionStatus>,
}

/// One session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// Its agent.
    pub agent_id: AgentId,
    /// Its key.
    pub key: SessionKey,
    /// `direct` for an agent's own sessions.
    pub kind: &'static str,
    /// Id of the conversation in it.
    pub session_id: String,
    /// Last use, ms since the epoch.
    pub updated_at: u64,
    /// Time since then in ms.
    pub age: u64,
    /// Whether its last run was aborted.
    pub aborted_last_run: bool,
    /// Tokens of its conversation; null until a model has run in it.
    pub total_tokens: Option<u64>,
    /// Tokens left of its context.
    pub remaining_tokens: Option<u64>,
    /// Share of the context in use.
    pub percent_used: Option<u64>,
    /// Its agent's model.
    pub model: Option<String>,
    /// Size of its context in tokens.
    pub context_tokens: Option<u64>,
    /// Settings that differ from the usual ones, in short.
    pub flags: Vec<String>,
}

impl HeartbeatStatus {
    /// Those of this gateway.
    #[must_use]
    pub fn of(gateway: &Gateway) -> Self {
        let configured = gateway.agents();
        let agents = configured.all().iter();
        let agents = agents.map(|agent| AgentHeartbeat { agent_id: agent.id.clone(), enabled: false, every: "disabled", every_ms: None });
        Self { default_agent_id: gateway.agents().default_id().clone(), agents: agents.collect() }
    }
}

impl SessionsStatus {
    /// Those of this gateway.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(gateway: &Gateway) -> Result<Self, StoreError> {
        let path = gateway.loaded().paths.db().display().to_string();
        let (count, recent) = recent(gateway, None).await?;
        let mut by_agent = Vec::new();
        let agents = gateway.agents();
        for agent in agents.all() {
            let (count, recent) = self::recent(gateway, Some(agent.id.clone())).await?;
            by_agent.push(AgentSessions { agent_id: agent.id.clone(), path: path.clone(), count, recent });
        }
        let model = gateway.agents().get(gateway.agents().default_id().as_str()).and_then(|agent| agent.model.clone());
        let defaults = SessionDefaultsStatus { context_tokens: context_tokens(gateway, model.as_deref()), model };
        Ok(Self { paths: vec![path], count, defaults, recent, by_agent })
    }
}

async fn recent(gateway: &Gateway, agent_id: Option<AgentId>) -> Result<(u64, Vec<SessionStatus>), StoreError> {
    let filter = SessionFilter { limit: RECENT, agent_id, ..SessionFilter::default() };
    let rows = gateway.store.sessions(filter.clone()).await?;
    let count = gateway.store.count_sessions(filter).await?;
    Ok((count, rows.into_iter().map(|row| status_of(gateway, row)).collect()))
}

fn status_of(gateway: &Gateway, row: SessionRow) -> SessionStatus {
    let model = gateway.agents().get(row.agent_id.as_str()).and_then(|agent| agent.model.clone());
    SessionStatus {
        kind: "direct",
        age: gateway.now().saturating_sub(row.updated_at),
        aborted_last_run: row.last_run.is_some_and(|run| run.status == RunStatus::Aborted),
        total_tokens: None,
        remaining_tokens: None,
        percent_used: None,
        context_tokens: context_tokens(gateway, model.as_deref()),
        model,
        flags: Vec::new(),
        agent_id: row.agent_id,
        key: row.key,
        session_id: row.session_id,
        updated_at: row.updated_at,
    }
}

/// Size of the context of a model, by its `provider/model` name.
fn context_tokens(gateway: &Gateway, name: Option<&str>) -> Option<u64> {
    let (provider, id) = name?.split_once('/')?;
    let rows = gateway.loaded().config.models();
    rows.into_iter().find(|row| row.provider == provider && row.id == id).and_then(|row| row.context_window)
}
