//! `device.token.revoke`: take a device's token back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{by, role};
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Take back what a device was granted for one role. Its connections end within a second; `gateway.pairing.onRevoke` decides about its runs. The device stays in the list and may ask again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRevokeParams {
    /// The device.
    #[schemars(length(min = 1, max = 128))]
    pub device_id: String,
    /// The role.
    #[schemars(length(min = 1, max = 16))]
    pub role: String,
}

/// What was taken back.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRevokeReply {
    /// The device.
    pub device_id: String,
    /// The role.
    pub role: &'static str,
    /// When, ms since the epoch.
    pub revoked_at_ms: u64,
}

/// `device.token.revoke`.
pub struct TokenRevoke;

impl Method for TokenRevoke {
    const NAME: &'static str = "device.token.revoke";
    const SCOPE: Scope = Scope::Pairing;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    type Params = TokenRevokeParams;
    type Output = TokenRevokeReply;

    async fn call(cx: Call, params: TokenRevokeParams) -> Result<TokenRevokeReply, RpcError> {
        let role = role(&params.role)?;
        let revoked_at_ms = cx.gateway.revoke_device(&params.device_id, role, &by(&cx.caller)).await?;
        Ok(TokenRevokeReply { device_id: params.device_id, role, revoked_at_ms })
    }
}
