//! `device.pair.approve`: let a device in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{by, scopes};
use crate::gateway::devices::paired_row;
use crate::protocol::error::RpcError;
use crate::protocol::event::device::PairedDeviceRow;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Approve a device that waits: it is paired, and fetches its token with its next connection. Nobody can grant more than they have themselves, and no device can approve itself. Only callers with `operator.admin` are told why an approval is refused; to others such a request does not exist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PairApproveParams {
    /// The request.
    #[schemars(length(min = 1, max = 128))]
    pub request_id: String,
    /// Grant only these of the scopes that it asks for.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub scopes: Option<Vec<String>>,
}

/// The device as it is now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairApproveReply {
    /// The request.
    pub request_id: String,
    /// The device.
    pub device: PairedDeviceRow,
}

/// `device.pair.approve`.
pub struct PairApprove;

impl Method for PairApprove {
    const NAME: &'static str = "device.pair.approve";
    const SCOPE: Scope = Scope::Pairing;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    type Params = PairApproveParams;
    type Output = PairApproveReply;

    async fn call(cx: Call, params: PairApproveParams) -> Result<PairApproveReply, RpcError> {
        let narrowed = params.scopes.as_deref().map(scopes).transpose()?;
        let device = cx.gateway.approve_device(&params.request_id, narrowed, &by(&cx.caller)).await?;
        Ok(PairApproveReply { request_id: params.request_id, device: paired_row(&device) })
    }
}
