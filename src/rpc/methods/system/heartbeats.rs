//! `last-heartbeat` and `set-heartbeats`. There are no heartbeats yet, and these say so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::error::{ErrorCode, RpcError};
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// The last heartbeat: null, because this version has none.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct LastParams {}

/// `last-heartbeat`.
pub struct LastHeartbeat;

impl Method for LastHeartbeat {
    const NAME: &'static str = "last-heartbeat";
    const SCOPE: Scope = Scope::Read;
    const LOOSE: bool = true;
    type Params = LastParams;
    type Output = ();

    async fn call(_cx: Call, _params: LastParams) -> Result<(), RpcError> {
        Ok(())
    }
}

/// Switch heartbeats on or off until the next start. This version has none: off is what they are, on is refused.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SetParams {
    /// A boolean. Required.
    #[serde(default)]
    pub enabled: Option<Value>,
}

/// How they are now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SetReply {
    /// Always true.
    pub ok: bool,
    /// Always false.
    pub enabled: bool,
}

/// `set-heartbeats`.
pub struct SetHeartbeats;

impl Method for SetHeartbeats {
    const NAME: &'static str = "set-heartbeats";
    const SCOPE: Scope = Scope::Admin;
    const LOOSE: bool = true;
    type Params = SetParams;
    type Output = SetReply;

    async fn call(_cx: Call, params: SetParams) -> Result<SetReply, RpcError> {
        match params.enabled {
            Some(Value::Bool(false)) => Ok(SetReply { ok: true, enabled: false }),
            Some(Value::Bool(true)) => {
                let error = RpcError::new(ErrorCode::Unavailable, "this version of the gateway has no heartbeats");
                Err(error.with_code("NO_HEARTBEATS"))
            }
            _ => Err(RpcError::invalid("invalid set-heartbeats params: enabled (boolean) required")),
        }
    }
}
