//! `device.pair.reject`: send a device away.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Reject a device that waits. It may ask again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PairRejectParams {
    /// The request.
    #[schemars(length(min = 1, max = 128))]
    pub request_id: String,
}

/// Whose request it was.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairRejectReply {
    /// The request.
    pub request_id: String,
    /// The device.
    pub device_id: String,
}

/// `device.pair.reject`.
pub struct PairReject;

impl Method for PairReject {
    const NAME: &'static str = "device.pair.reject";
    const SCOPE: Scope = Scope::Pairing;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    type Params = PairRejectParams;
    type Output = PairRejectReply;

    async fn call(cx: Call, params: PairRejectParams) -> Result<PairRejectReply, RpcError> {
        let device_id = cx.gateway.reject_device(&params.request_id, &by(&cx.caller)).await?;
        Ok(PairRejectReply { request_id: params.request_id, device_id })
    }
}
