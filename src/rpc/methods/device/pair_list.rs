//! `device.pair.list`: paired devices and those that ask to be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::devices::paired_row;
use crate::protocol::error::RpcError;
use crate::protocol::event::device::{PairRequestRow, PairedDeviceRow};
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// List the devices that are paired and those that wait for an approval, each newest first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairListParams {}

/// The devices.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PairListReply {
    /// Those that wait.
    pub pending: Vec<PairRequestRow>,
    /// Those that are paired, with their tokens but for the secret.
    pub paired: Vec<PairedDeviceRow>,
}

/// `device.pair.list`.
pub struct PairList;

impl Method for PairList {
    const NAME: &'static str = "device.pair.list";
    const SCOPE: Scope = Scope::Pairing;
    type Params = PairListParams;
    type Output = PairListReply;

    async fn call(cx: Call, _params: PairListParams) -> Result<PairListReply, RpcError> {
        let (pending, paired) = cx.gateway.listed_devices();
        Ok(PairListReply { pending, paired: paired.iter().map(paired_row).collect() })
    }
}
