//! `system-presence`: who is connected.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::protocol::error::RpcError;
use crate::protocol::event::presence::PresenceEntry;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Who is connected, newest first: the entries themselves, as an array.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct PresenceParams {}

/// `system-presence`.
pub struct SystemPresence;

impl Method for SystemPresence {
    const NAME: &'static str = "system-presence";
    const SCOPE: Scope = Scope::Read;
    const LOOSE: bool = true;
    type Params = PresenceParams;
    type Output = Vec<PresenceEntry>;

    async fn call(cx: Call, _params: PresenceParams) -> Result<Vec<PresenceEntry>, RpcError> {
        Ok(cx.gateway.presence.snapshot())
    }
}
