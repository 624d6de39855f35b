//! `channels.status`: the message channels; there are none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::event::health::Empty;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// How the message channels are. This gateway has none: every part is empty.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusParams {
    /// Accepted for existing clients; there is nothing to probe.
    #[serde(default)]
    pub probe: Option<bool>,
    /// Accepted for existing clients.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// No channels.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    /// When this was answered, ms since the epoch.
    pub ts: u64,
    /// Always empty.
    pub channel_order: Vec<String>,
    /// Always empty.
    pub channel_labels: Empty,
    /// Always empty.
    pub channels: Empty,
    /// Always empty.
    pub channel_accounts: Empty,
    /// Always empty.
    pub channel_default_account_id: Empty,
}

/// `channels.status`.
pub struct Status;

impl Method for Status {
    const NAME: &'static str = "channels.status";
    const SCOPE: Scope = Scope::Read;
    type Params = StatusParams;
    type Output = StatusReply;

    async fn call(cx: Call, _params: StatusParams) -> Result<StatusReply, RpcError> {
        Ok(StatusReply {
            ts: cx.gateway.now(),
            channel_order: Vec::new(),
            channel_labels: Empty {},
            channels: Empty {},
            channel_accounts: Empty {},
            channel_default_account_id: Empty {},
        })
    }
}
