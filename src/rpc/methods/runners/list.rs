//! `runners.list`: what can turn messages into work here.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::runners::RunnerRow;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// List the runners: which of them can work here, where their programs are, and what is missing. A program that does not say its version otherwise is asked for it once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {}

/// The runners.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListReply {
    /// One row each.
    pub runners: Vec<RunnerRow>,
}

/// `runners.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "runners.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, _params: ListParams) -> Result<ListReply, RpcError> {
        let gateway = Arc::clone(&cx.gateway);
        let asked = tokio::task::spawn_blocking(move || gateway.runners_asked()).await;
        Ok(ListReply { runners: asked.unwrap_or_else(|_| cx.gateway.runners()) })
    }
}
