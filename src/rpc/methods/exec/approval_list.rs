//! `exec.approval.list`: what waits for a decision, for a page that was opened later than it was asked.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::approvals::desk::view;
use crate::protocol::approval::ApprovalView;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// What waits for a decision, oldest first; or, with `all`, the newest approvals of any state.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Those that are over too, the newest first.
    #[serde(default)]
    pub all: bool,
    /// Most rows; 100 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
}

/// `exec.approval.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "exec.approval.list";
    const SCOPE: Scope = Scope::Approvals;
    type Params = ListParams;
    type Output = Vec<ApprovalView>;

    async fn call(cx: Call, params: ListParams) -> Result<Vec<ApprovalView>, RpcError> {
        let limit = params.limit.unwrap_or(100);
        let approvals = &cx.gateway.approvals;
        let records = if params.all { approvals.all(limit).await? } else { approvals.pending() };
        Ok(records.iter().take(limit).map(view).collect())
    }
}
