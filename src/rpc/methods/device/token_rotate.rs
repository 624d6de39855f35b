//! `device.token.rotate`: give a device another token.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{by, role, scopes};
use crate::auth::credential::CredentialId;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Replace a device's token. Only the device itself, when it came in with the old one, gets the new one here; for any other caller the device fetches it with its signature when it connects again, and the token passes nobody else. Connections with the old token end within a second. `scopes` can only take away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRotateParams {
    /// The device.
    #[schemars(length(min = 1, max = 128))]
    pub device_id: String,
    /// The role.
    #[schemars(length(min = 1, max = 16))]
    pub role: String,
    /// Keep only these of the scopes that were approved.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub scopes: Option<Vec<String>>,
}

/// The token, for the device itself.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRotateReply {
    /// The device.
    pub device_id: String,
    /// The role.
    pub role: &'static str,
    /// The new token; absent for any other caller than the device itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What it is good for.
    pub scopes: Vec<&'static str>,
    /// When, ms since the epoch.
    pub rotated_at_ms: u64,
}

/// `device.token.rotate`.
pub struct TokenRotate;

impl Method for TokenRotate {
    const NAME: &'static str = "device.token.rotate";
    const SCOPE: Scope = Scope::Pairing;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    type Params = TokenRotateParams;
    type Output = TokenRotateReply;

    async fn call(cx: Call, params: TokenRotateParams) -> Result<TokenRotateReply, RpcError> {
        let role = role(&params.role)?;
        let narrowed = params.scopes.as_deref().map(scopes).transpose()?;
        let device_id = params.device_id;
        let own = matches!(&cx.caller.credential, CredentialId::Device(id, held) if **id == *device_id && *held == role);
        let (grant, token) = cx.gateway.rotate_device(&device_id, role, narrowed, own, &by(&cx.caller)).await?;
        let (gateway, ended) = (Arc::clone(&cx.gateway), device_id.clone());
        // Behind the answer, which may go to one of the connections that end.
        cx.after(move || gateway.end_device(&ended, Some(role)));
        let rotated_at_ms = grant.rotated_at.unwrap_or_default();
        Ok(TokenRotateReply { device_id, role, token, scopes: grant.scopes.names(), rotated_at_ms })
    }
}
