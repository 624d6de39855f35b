//! `node.list`: the nodes; there are none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// List the nodes. This gateway has none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {}

/// No nodes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListReply {
    /// When this was answered, ms since the epoch.
    pub ts: u64,
    /// Always empty.
    pub nodes: Vec<()>,
}

/// `node.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "node.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, _params: ListParams) -> Result<ListReply, RpcError> {
        Ok(ListReply { ts: cx.gateway.now(), nodes: Vec::new() })
    }
}
