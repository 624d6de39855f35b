//! `runs.list`: runs, newest first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::row_since;
use crate::protocol::error::RpcError;
use crate::protocol::run::{RunRow, RunStatus};
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::rpc::methods::agent::target;
use crate::store::record::{RunCursor, RunFilter};

/// List runs, newest first, a page at a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListParams {
    /// Only runs of this session, in any form.
    #[serde(default)]
    pub session_key: Option<String>,
    /// Only runs in this status, as of their last change.
    #[serde(default)]
    pub status: Option<RunStatus>,
    /// Most rows; 50 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub cursor: Option<String>,
}

/// A page of runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListReply {
    /// The runs.
    pub runs: Vec<RunRow>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `runs.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "runs.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, params: ListParams) -> Result<ListReply, RpcError> {
        let session_key = match params.session_key {
            None => None,
            Some(text) => Some(target::resolve(&cx.gateway, Self::NAME, None, Some(&text))?.1),
        };
        let before = match params.cursor {
            None => None,
            Some(text) => {
                let place =
                    text.parse().map_err(|_| RpcError::invalid("invalid runs.list params: at /cursor: is no cursor of this gateway"))?;
                Some(RunCursor(place))
            }
        };
        let principal = (!cx.caller.sees_all).then(|| cx.caller.principal.to_string());
        let filter = RunFilter { principal, session_key, status: params.status, limit: params.limit.unwrap_or(50), before };
        let page = cx.gateway.store.runs(filter).await?;
        let mut runs = Vec::with_capacity(page.runs.len());
        for record in &page.runs {
            runs.push(row_since(&cx, record).await?);
        }
        Ok(ListReply { runs, next_cursor: page.next.map(|cursor| cursor.0.to_string()) })
    }
}
