//! `cron.list`: the jobs; there are none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// List the jobs. This version has none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListParams {
    /// Accepted for existing clients, as are the others.
    #[serde(default)]
    pub include_disabled: Option<bool>,
    /// Only jobs of this agent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Leaves out the larger parts of rows.
    #[serde(default)]
    pub compact: Option<bool>,
    /// `all`, `enabled` or `disabled`.
    #[serde(default)]
    pub enabled: Option<Value>,
    /// Shows where results would go.
    #[serde(default)]
    pub include_delivery_previews: Option<bool>,
    /// Most rows.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
    /// Rows to pass over.
    #[serde(default)]
    pub offset: Option<u64>,
    /// Only jobs that hold this text.
    #[serde(default)]
    pub query: Option<String>,
    /// Which key decides the order.
    #[serde(default)]
    pub sort_by: Option<String>,
    /// `asc` or `desc`.
    #[serde(default)]
    pub sort_dir: Option<String>,
}

/// No jobs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListReply {
    /// Always empty.
    pub jobs: Vec<()>,
    /// Always 0.
    pub total: u64,
    /// As it was asked.
    pub offset: u64,
    /// As it was asked; 50 if absent.
    pub limit: u64,
    /// Always false.
    pub has_more: bool,
    /// Always null.
    pub next_offset: Option<u64>,
}

/// `cron.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "cron.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(_cx: Call, params: ListParams) -> Result<ListReply, RpcError> {
        let (offset, limit) = (params.offset.unwrap_or(0), params.limit.unwrap_or(50));
        Ok(ListReply { jobs: Vec::new(), total: 0, offset, limit, has_more: false, next_offset: None })
    }
}
