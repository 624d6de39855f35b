//! The parts of `status` about sessions and heartbeats.

use schemars::JsonSchema;
use serde::Serialize;

use crate::gateway::Gateway;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::session::{SessionKind, SessionRow};
use crate::sessions::models::ModelName;
use crate::store::error::StoreError;
use crate::store::sessions::SessionFilter;

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
    /// What kind of conversation it is.
    pub kind: SessionKind,
    /// Id of the conversation in it.
    pub session_id: String,
    /// Last use, ms since the epoch.
    pub updated_at: u64,
    /// Time since then in ms.
    pub age: u64,
    /// How much a model thinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    /// How much is told of tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbose_level: Option<String>,
    /// Whether front ends show thoughts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_level: Option<String>,
    /// Kept for front ends; it permits nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elevated_level: Option<String>,
    /// Whether the conversation has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_sent: Option<bool>,
    /// Whether its last run was aborted or lost.
    pub aborted_last_run: bool,
    /// Tokens of all prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of all answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens in the context; null until a model has run in it.
    pub total_tokens: Option<u64>,
    /// Tokens left of its context; null when its size is not known.
    pub remaining_tokens: Option<u64>,
    /// Share of the context in use, 0 to 100; null when its size is not known.
    pub percent_used: Option<u64>,
    /// Its model.
    pub model: Option<String>,
    /// Size of the model's context in tokens.
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
        let ModelName { provider, model } = gateway.default_model(gateway.agents().default_id());
        let defaults = SessionDefaultsStatus { context_tokens: context_tokens(gateway, provider.as_deref(), model.as_deref()), model };
        Ok(Self { paths: vec![path], count, defaults, recent, by_agent })
    }
}

async fn recent(gateway: &Gateway, agent: Option<AgentId>) -> Result<(u64, Vec<SessionStatus>), StoreError> {
    let filter = SessionFilter { limit: RECENT, agents: agent.into_iter().collect(), ..SessionFilter::default() };
    let page = gateway.store.sessions(filter).await?;
    let rows = page.rows.into_iter().map(|listed| status_of(gateway, gateway.session_row(listed)));
    Ok((page.total as u64, rows.collect()))
}

fn status_of(gateway: &Gateway, row: SessionRow) -> SessionStatus {
    let known = || context_tokens(gateway, row.model_provider.as_deref(), row.model.as_deref());
    let context_tokens = row.context_tokens.or_else(known);
    let used = row.total_tokens.zip(context_tokens);
    SessionStatus {
        age: gateway.now().saturating_sub(row.updated_at),
        remaining_tokens: used.map(|(total, context)| context.saturating_sub(total)),
        percent_used: used.filter(|(_, context)| *context > 0).map(|(total, context)| (total.saturating_mul(100) / context).min(100)),
        flags: flags_of(&row),
        kind: row.kind,
        aborted_last_run: row.aborted_last_run,
        total_tokens: row.total_tokens,
        context_tokens,
        model: row.model,
        agent_id: row.agent_id,
        key: row.key,
        session_id: row.session_id,
        updated_at: row.updated_at,
        thinking_level: row.thinking_level,
        verbose_level: row.verbose_level,
        reasoning_level: row.reasoning_level,
        elevated_level: row.elevated_level,
        system_sent: row.system_sent,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
    }
}

/// What differs from the usual, as `name:value`.
fn flags_of(row: &SessionRow) -> Vec<String> {
    let levels = [
        ("think", row.thinking_level.as_deref()),
        ("verbose", row.verbose_level.as_deref()),
        ("reasoning", row.reasoning_level.as_deref()),
        ("elevated", row.elevated_level.as_deref()),
        ("send", row.send_policy.as_deref()),
        ("queue", row.queue_mode.as_deref()),
    ];
    let set = levels.into_iter().filter_map(|(name, value)| Some(format!("{name}:{}", value?)));
    set.chain(row.system_sent.filter(|sent| *sent).map(|_| "system".to_owned()))
        .chain(row.aborted_last_run.then(|| "aborted".to_owned()))
        .collect()
}

/// Size of the context of a model.
fn context_tokens(gateway: &Gateway, provider: Option<&str>, model: Option<&str>) -> Option<u64> {
    let (provider, model) = (provider?, model?);
    let rows = gateway.loaded().config.models();
    rows.into_iter().find(|row| row.provider == provider && row.id == model).and_then(|row| row.context_window)
}
