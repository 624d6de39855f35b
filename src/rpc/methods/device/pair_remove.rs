//! `device.pair.remove`: forget a device.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Forget a paired device with everything that it was granted. Its connections end within a second.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PairRemoveParams {
    /// The device.
    #[schemars(length(min = 1, max = 128))]
    pub device_id: String,
}

/// Which device is gone.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairRemoveReply {
    /// The device.
    pub device_id: String,
}

/// `device.pair.remove`.
pub struct PairRemove;

impl Method for PairRemove {
    const NAME: &'static str = "device.pair.remove";
    const SCOPE: Scope = Scope::Pairing;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    type Params = PairRemoveParams;
    type Output = PairRemoveReply;

    async fn call(cx: Call, params: PairRemoveParams) -> Result<PairRemoveReply, RpcError> {
        cx.gateway.remove_device(&params.device_id, &by(&cx.caller)).await?;
        Ok(PairRemoveReply { device_id: params.device_id })
    }
}
