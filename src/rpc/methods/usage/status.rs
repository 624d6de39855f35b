//! `usage.status`: what providers of models say of their limits; none is asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// What providers of models say of their limits. This version asks none of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusParams {}

/// No providers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    /// When this was answered, ms since the epoch.
    pub updated_at: u64,
    /// Always empty.
    pub providers: Vec<()>,
}

/// `usage.status`.
pub struct Status;

impl Method for Status {
    const NAME: &'static str = "usage.status";
    const SCOPE: Scope = Scope::Read;
    type Params = StatusParams;
    type Output = StatusReply;

    async fn call(cx: Call, _params: StatusParams) -> Result<StatusReply, RpcError> {
        Ok(StatusReply { updated_at: cx.gateway.now(), providers: Vec::new() })
    }
}
