//! `sessions.usage`: what the sessions used in some days.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::usage::totals;
use crate::protocol::error::RpcError;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::scope::Scope;
use crate::protocol::usage::UsageTotals;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::rpc::methods::agent::target;
use crate::store::usage::{UsageFilter, UsageSum};

/// What the sessions used in some days, as their runs reported it when they ended; the session whose run ended last first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UsageParams {
    /// Only this session.
    #[serde(default)]
    #[schemars(length(min = 1, max = 512))]
    pub key: Option<String>,
    /// The first day, `YYYY-MM-DD`.
    #[serde(default)]
    pub start_date: Option<String>,
    /// The last day, `YYYY-MM-DD`; it counts.
    #[serde(default)]
    pub end_date: Option<String>,
    /// Most sessions; 50 if absent. Sums are over all of them.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub include_context_weight: Option<bool>,
}

/// What was used.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageReply {
    /// When this was added up, ms since the epoch.
    pub updated_at: u64,
    /// The first day.
    pub start_date: String,
    /// The last day.
    pub end_date: String,
    /// One row each.
    pub sessions: Vec<SessionUsage>,
    /// All sessions together.
    pub totals: UsageTotals,
    /// The same by other parts.
    pub aggregates: Aggregates,
}

/// One session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionUsage {
    /// The session.
    pub key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// When its last run of these days ended, ms since the epoch.
    pub updated_at: u64,
    /// What it used.
    pub usage: SessionSums,
}

/// What a session used.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionSums {
    /// Sums.
    #[serde(flatten)]
    pub totals: UsageTotals,
    /// When its first run of these days ended, ms since the epoch.
    pub first_activity: u64,
    /// When its last one did.
    pub last_activity: u64,
    /// Messages.
    pub message_counts: MessageCounts,
}

/// Messages: each run is one of a user and one of its agent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageCounts {
    /// All of them.
    pub total: u64,
    /// Of users.
    pub user: u64,
    /// Of agents.
    pub assistant: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// Their results.
    pub tool_results: u64,
    /// Runs that did not end well.
    pub errors: u64,
}

/// Sums by other parts than sessions.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aggregates {
    /// Messages.
    pub messages: MessageCounts,
    /// Tools.
    pub tools: ToolCounts,
    /// Always empty: usage is kept by session, agent and day.
    pub by_model: Vec<()>,
    /// Always empty, as `byModel`.
    pub by_provider: Vec<()>,
    /// By agent.
    pub by_agent: Vec<AgentUsage>,
    /// Always empty: there are no channels.
    pub by_channel: Vec<()>,
    /// Day by day, the oldest first; empty when only one session was asked for.
    pub daily: Vec<DayCounts>,
}

/// How often tools were called.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolCounts {
    /// All calls.
    pub total_calls: u64,
    /// How many tools.
    pub unique_tools: u64,
    /// One row each.
    pub tools: Vec<ToolCount>,
}

/// One tool.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ToolCount {
    /// Its name.
    pub name: &'static str,
    /// How often it was called.
    pub count: u64,
}

/// One agent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentUsage {
    /// The agent.
    pub agent_id: AgentId,
    /// What its sessions used.
    pub totals: UsageTotals,
}

/// One day.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DayCounts {
    /// The day, `YYYY-MM-DD`.
    pub date: String,
    /// Tokens.
    pub tokens: u64,
    /// Cost.
    pub cost: f64,
    /// Messages.
    pub messages: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// Runs that did not end well.
    pub errors: u64,
}

/// `sessions.usage`.
pub struct Usage;

impl Method for Usage {
    const NAME: &'static str = "sessions.usage";
    const SCOPE: Scope = Scope::Admin;
    type Params = UsageParams;
    type Output = UsageReply;

    async fn call(cx: Call, params: UsageParams) -> Result<UsageReply, RpcError> {
        let gateway = &cx.gateway;
        let days = gateway
            .days(None, params.start_date.as_deref(), params.end_date.as_deref())
            .map_err(|wrong| RpcError::invalid(format!("invalid sessions.usage params: {wrong}")))?;
        let session = match &params.key {
            Some(key) => Some(target::resolve(gateway, Self::NAME, None, Some(key))?.1),
            None => None,
        };
        let daily = if session.is_none() { gateway.usage_by_day(&days).await? } else { Vec::new() };
        let (from, to) = days.span();
        let sums = gateway.store.usage(UsageFilter { from, to, session, by_session: true }).await?;
        let (mut all, mut agents) = (UsageSum::default(), BTreeMap::<AgentId, UsageSum>::new());
        for sum in &sums {
            all.add(sum);
            if let Some((_, agent)) = &sum.session {
                agents.entry(agent.clone()).or_default().add(sum);
            }
        }
        let (start_date, end_date) = days.ends();
        Ok(UsageReply {
            updated_at: gateway.now(),
            start_date,
            end_date,
            sessions: sums.into_iter().take(params.limit.unwrap_or(50)).filter_map(row).collect(),
            totals: totals(&all),
            aggregates: Aggregates {
                messages: counts(&all),
                tools: tools(&all),
                by_model: Vec::new(),
                by_provider: Vec::new(),
                by_agent: agents.into_iter().map(|(agent_id, sum)| AgentUsage { agent_id, totals: totals(&sum) }).collect(),
                by_channel: Vec::new(),
                daily: daily.into_iter().map(|(date, sum)| day(date, &sum)).collect(),
            },
        })
    }
}

fn row(sum: UsageSum) -> Option<SessionUsage> {
    let usage =
        SessionSums { totals: totals(&sum), first_activity: sum.first_at, last_activity: sum.last_at, message_counts: counts(&sum) };
    let (key, agent_id) = sum.session?;
    Some(SessionUsage { key, agent_id, updated_at: sum.last_at, usage })
}

fn counts(sum: &UsageSum) -> MessageCounts {
    MessageCounts {
        total: sum.runs * 2,
        user: sum.runs,
        assistant: sum.runs,
        tool_calls: sum.commands,
        tool_results: sum.commands,
        errors: sum.failed,
    }
}

fn tools(sum: &UsageSum) -> ToolCounts {
    let tools: Vec<_> = (sum.commands > 0).then_some(ToolCount { name: "exec", count: sum.commands }).into_iter().collect();
    ToolCounts { total_calls: sum.commands, unique_tools: tools.len() as u64, tools }
}

fn day(date: String, sum: &UsageSum) -> DayCounts {
    let cost = sum.tokens.cost.map_or(0.0, |cost| cost.total);
    DayCounts { date, tokens: sum.tokens.total(), cost, messages: sum.runs * 2, tool_calls: sum.commands, errors: sum.failed }
}
