//! `sessions.unsubscribe`: be told no longer what happens to sessions.

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::rpc::methods::sessions::subscribe::SubscribeReply;

use schemars::JsonSchema;
use serde::Deserialize;

/// This connection gets no more `sessions.changed`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeParams {}

/// `sessions.unsubscribe`.
pub struct Unsubscribe;

impl Method for Unsubscribe {
    const NAME: &'static str = "sessions.unsubscribe";
    const SCOPE: Scope = Scope::Read;
    type Params = UnsubscribeParams;
    type Output = SubscribeReply;

    async fn call(cx: Call, _params: UnsubscribeParams) -> Result<SubscribeReply, RpcError> {
        cx.caller.watching.set_list(false);
        Ok(SubscribeReply { subscribed: false })
    }
}
