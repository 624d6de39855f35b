//! `usage.cost`: what runs used, day by day.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::usage::totals;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::protocol::usage::{UsageDay, UsageTotals};
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::store::usage::UsageSum;

/// What the runs of some days used, as they reported it when they ended. Days are those of the machine's clock; today is the last of `days`. Runs are remembered for 30 days.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CostParams {
    /// How many days; 30 if nothing is said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 366))]
    pub days: Option<u32>,
    /// The first day, `YYYY-MM-DD`.
    #[serde(default)]
    pub start_date: Option<String>,
    /// The last day, `YYYY-MM-DD`; it counts.
    #[serde(default)]
    pub end_date: Option<String>,
}

/// What was used.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostReply {
    /// When this was added up, ms since the epoch.
    pub updated_at: u64,
    /// How many days there are.
    pub days: i32,
    /// One row each, the oldest first.
    pub daily: Vec<UsageDay>,
    /// All of them together.
    pub totals: UsageTotals,
}

/// `usage.cost`.
pub struct Cost;

impl Method for Cost {
    const NAME: &'static str = "usage.cost";
    const SCOPE: Scope = Scope::Read;
    type Params = CostParams;
    type Output = CostReply;

    async fn call(cx: Call, params: CostParams) -> Result<CostReply, RpcError> {
        let gateway = &cx.gateway;
        let days = gateway
            .days(params.days, params.start_date.as_deref(), params.end_date.as_deref())
            .map_err(|wrong| RpcError::invalid(format!("invalid usage.cost params: {wrong}")))?;
        let by_day = gateway.usage_by_day(&days).await?;
        let mut all = UsageSum::default();
        by_day.iter().for_each(|(_, sum)| all.add(sum));
        let daily = by_day.into_iter().map(|(date, sum)| UsageDay { date, totals: totals(&sum) }).collect();
        Ok(CostReply { updated_at: gateway.now(), days: days.count(), daily, totals: totals(&all) })
    }
}
