//! `health`: how the gateway is.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::protocol::error::RpcError;
use crate::protocol::event::health::HealthSummary;
use crate::protocol::ready::Ready;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Health of the gateway. What needs a look at the store or the machine is looked up on a timer, and now with `probe` or when nobody was connected for longer than that.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct HealthParams {
    /// Look everything up now.
    #[serde(default)]
    pub probe: Option<bool>,
}

/// `health`.
pub struct Health;

impl Method for Health {
    const NAME: &'static str = "health";
    const SCOPE: Scope = Scope::Read;
    const LOOSE: bool = true;
    type Params = HealthParams;
    type Output = Ready<HealthSummary>;

    async fn call(cx: Call, params: HealthParams) -> Result<Ready<HealthSummary>, RpcError> {
        if params.probe == Some(true) || cx.gateway.health_is_old() {
            cx.gateway.refresh_health().await?;
        }
        Ok(cx.gateway.health_summary())
    }
}
