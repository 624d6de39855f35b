//! `sessions.list`: the sessions that are kept, newest first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::Gateway;
use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::protocol::session::SessionRow;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::sessions::models::ModelName;
use crate::store::sessions::{MAX_SESSIONS, SessionCursor, SessionFilter};

/// Rows of a page if the client names no limit; clients of protocol 3 know no pages and get all that one page holds.
const PAGE: usize = 100;

/// Sessions, the most recently used first. A page begins behind `cursor`, or `offset` rows further on; `nextCursor` of the answer leads to the next one without gaps while sessions are used.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListParams {
    /// Most rows, at most 1000; if absent 100, on protocol 3 1000.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
    /// Without the first so many rows.
    #[serde(default)]
    pub offset: Option<u64>,
    /// Only rows behind this place, as `nextCursor` of an earlier answer gave it.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub cursor: Option<String>,
    /// Only sessions used within so many minutes.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub active_minutes: Option<u64>,
    /// Only sessions of this agent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Only sessions whose key, id, label, name or subject contains this, in any case.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub search: Option<String>,
    /// The session `global` too.
    #[serde(default)]
    pub include_global: Option<bool>,
    /// The session `unknown` too.
    #[serde(default)]
    pub include_unknown: Option<bool>,
    /// With the beginning of the first message as `derivedTitle`.
    #[serde(default)]
    pub include_derived_titles: Option<bool>,
    /// With the beginning of the newest message as `lastMessagePreview`.
    #[serde(default)]
    pub include_last_message: Option<bool>,
    /// Only sessions of agents that are configured.
    #[serde(default)]
    pub configured_agents_only: Option<bool>,
    /// Accepted for existing clients: sessions have no owners here.
    #[serde(default)]
    pub owner_first: Option<bool>,
    /// Only the session with this label.
    #[serde(default)]
    pub label: Option<String>,
    /// Only sessions that this session started.
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
    /// How many there are on all pages.
    pub total_count: usize,
    /// The limit that was used.
    pub limit_applied: usize,
    /// Whether there are rows behind these.
    pub has_more: bool,
    /// `offset` of the next page; not after a `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<usize>,
    /// `cursor` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
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
        let (titles, previews) = (params.include_derived_titles == Some(true), params.include_last_message == Some(true));
        let filter = filter(gateway, params, cx.caller.protocol, now)?;
        let (limit_applied, by_cursor) = (filter.limit, filter.after.is_some());
        let mut page = gateway.store.sessions(filter).await?;
        if titles || previews {
            gateway.look_up(&mut page.rows).await;
        }
        let end = page.skipped + page.rows.len();
        let has_more = page.next.is_some();
        let sessions: Vec<_> = page.rows.into_iter().map(|listed| gateway.looked_row(listed, titles, previews)).collect();
        Ok(ListReply {
            ts: now,
            path: gateway.loaded().paths.db().display().to_string(),
            count: sessions.len(),
            total_count: page.total,
            limit_applied,
            has_more,
            next_offset: (has_more && !by_cursor).then_some(end),
            next_cursor: page.next.map(SessionCursor::text),
            defaults: defaults(gateway),
            sessions,
        })
    }
}

fn filter(gateway: &Gateway, params: ListParams, protocol: u32, now: u64) -> Result<SessionFilter, RpcError> {
    let after = match params.cursor.as_deref() {
        None | Some("") => None,
        Some(text) => Some(SessionCursor::parse(text).ok_or_else(|| {
            RpcError::invalid("invalid sessions.list params: at /cursor: must be a nextCursor of an earlier answer")
                .with_code("INVALID_CURSOR")
        })?),
    };
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let whole = if protocol >= 4 { PAGE } else { MAX_SESSIONS };
    // Sessions that belong to no agent are none of an agent's, and were started by none.
    let owned = params.agent_id.is_some() || params.spawned_by.is_some();
    let agents = match params.agent_id {
        Some(agent) => vec![AgentId(agent.trim().to_lowercase())],
        None if params.configured_agents_only == Some(true) => gateway.agents().all().iter().map(|agent| agent.id.clone()).collect(),
        None => Vec::new(),
    };
    Ok(SessionFilter {
        limit: params.limit.map_or(whole, number).min(MAX_SESSIONS),
        offset: params.offset.map_or(0, number),
        after,
        search: params.search.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
        agents,
        idle_since: None,
        spawned: false,
        active_since: params.active_minutes.map(|minutes| now.saturating_sub(minutes.saturating_mul(60_000))),
        label: params.label,
        spawned_by: params.spawned_by,
        key: None,
        session_id: None,
        global: params.include_global == Some(true) && !owned,
        unknown: params.include_unknown == Some(true) && !owned,
    })
}

fn defaults(gateway: &Gateway) -> Defaults {
    let ModelName { provider, model } = gateway.default_model(gateway.agents().default_id());
    Defaults { model_provider: provider, context_tokens: None, model }
}
