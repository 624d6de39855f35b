//! `sessions.list`: the sessions that runs have made, newest first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::run::RunStatus;
use crate::protocol::scope::Scope;
use crate::protocol::session::SessionRow;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::store::record::SessionFilter;

/// Sessions, the most recently used first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListParams {
    /// Most rows; 100 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
    /// Only sessions used within so many minutes.
    #[serde(default)]
    #[schemars(range(min = 1, max = 5_256_000))]
    pub active_minutes: Option<u64>,
    /// Only sessions of this agent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Only sessions whose key or id contains this, in any case.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub search: Option<String>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub include_global: Option<bool>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub include_unknown: Option<bool>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub include_derived_titles: Option<bool>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub include_last_message: Option<bool>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub configured_agents_only: Option<bool>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub owner_first: Option<bool>,
    /// Accepted for existing clients; no session has a label yet.
    #[serde(default)]
    pub label: Option<String>,
    /// Accepted for existing clients; no session was started by another.
    #[serde(default)]
    pub spawned_by: Option<String>,
}

/// The sessions.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListReply {
    /// When this was answered, ms since the epoch.
    pub ts: u64,
    /// Where they are kept.
    pub path: String,
    /// How many rows follow.
    pub count: usize,
    /// What sessions get unless they say otherwise.
    pub defaults: Defaults,
    /// The rows.
    pub sessions: Vec<SessionRow>,
}

/// What sessions get unless they say otherwise.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    /// Provider of the default agent's model.
    pub model_provider: Option<String>,
    /// The default agent's model.
    pub model: Option<String>,
    /// Size of its context in tokens.
    pub context_tokens: Option<u64>,
}

/// `sessions.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "sessions.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, params: ListParams) -> Result<ListReply, RpcError> {
        let gateway = &cx.gateway;
        let now = gateway.now();
        let sessions = if params.label.is_some() || params.spawned_by.is_some() {
            Vec::new()
        } else {
            let filter = SessionFilter {
                limit: params.limit.unwrap_or(100),
                search: params.search,
                agent_id: params.agent_id.map(AgentId),
                active_since: params.active_minutes.map(|minutes| now.saturating_sub(minutes.saturating_mul(60_000))),
            };
            gateway.store.sessions(filter).await?
        };
        let sessions: Vec<_> = sessions
            .into_iter()
            .map(|row| SessionRow {
                key: row.key,
                kind: "direct",
                session_id: row.session_id,
                updated_at: row.updated_at,
                created_at: row.created_at,
                run_count: row.run_count,
                aborted_last_run: row.last_run.as_ref().is_some_and(|run| run.status == RunStatus::Aborted),
                last_run_status: row.last_run.as_ref().map(|run| run.status),
                last_run_id: row.last_run.map(|run| run.run_id),
            })
            .collect();
        let agents = gateway.agents();
        let model = agents.get(agents.default_id().as_str()).and_then(|agent| agent.model.clone());
        let (model_provider, model) = match model.as_deref().map(|model| model.split_once('/')) {
            None => (None, None),
            Some(None) => (None, model),
            Some(Some((provider, id))) => (Some(provider.to_owned()), Some(id.to_owned())),
        };
        Ok(ListReply {
            ts: now,
            path: gateway.loaded().paths.db().display().to_string(),
            count: sessions.len(),
            defaults: Defaults { model_provider, model, context_tokens: None },
            sessions,
        })
    }
}
