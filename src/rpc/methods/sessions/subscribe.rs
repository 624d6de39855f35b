//! `sessions.subscribe`: be told when something happens to a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::{Call, Outgoing};
use crate::rpc::method::Method;

/// From the answer on, this connection gets `sessions.changed` whenever something happens to a session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {}

/// Whether the connection is subscribed now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SubscribeReply {
    /// Whether it is.
    pub subscribed: bool,
}

/// `sessions.subscribe`.
pub struct Subscribe;

impl Method for Subscribe {
    const NAME: &'static str = "sessions.subscribe";
    const SCOPE: Scope = Scope::Read;
    type Params = SubscribeParams;
    type Output = SubscribeReply;

    async fn call(cx: Call, _params: SubscribeParams) -> Result<SubscribeReply, RpcError> {
        cx.caller.watching.set_list(true);
        cx.then(Outgoing::Watch(Arc::clone(&cx.caller.watching), cx.gateway.hub.session_events()));
        Ok(SubscribeReply { subscribed: true })
    }
}
