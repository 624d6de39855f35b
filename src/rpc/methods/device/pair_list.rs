//! `device.pair.list`: paired devices and those that ask to be; there are none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// List the devices that are paired and those that ask to be. Devices are let in by the gateway's secret, so this version has neither.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairListParams {}

/// No devices.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PairListReply {
    /// Always empty.
    pub pending: Vec<()>,
    /// Always empty.
    pub paired: Vec<()>,
}

/// `device.pair.list`.
pub struct PairList;

impl Method for PairList {
    const NAME: &'static str = "device.pair.list";
    const SCOPE: Scope = Scope::Pairing;
    type Params = PairListParams;
    type Output = PairListReply;

    async fn call(_cx: Call, _params: PairListParams) -> Result<PairListReply, RpcError> {
        Ok(PairListReply { pending: Vec::new(), paired: Vec::new() })
    }
}
