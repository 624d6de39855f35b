//! `sessions.messages.subscribe`: be told every message of a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key_of;
use crate::protocol::error::RpcError;
use crate::protocol::ids::SessionKey;
use crate::protocol::scope::Scope;
use crate::rpc::call::{Call, Outgoing};
use crate::rpc::method::Method;
use crate::rpc::watching::MAX_WATCHED;

/// From the answer on, this connection gets `session.message` for every message of the session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessagesParams {
    /// The session, in any form; it need not exist yet.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// Accepted for existing clients: approvals have events of their own.
    #[serde(default)]
    pub include_approvals: Option<bool>,
    /// Accepted for existing clients: the key names the agent.
    #[serde(default)]
    pub agent_id: Option<String>,
}

/// Whether the connection is subscribed now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MessagesReply {
    /// Whether it is.
    pub subscribed: bool,
    /// The session's canonical key.
    pub key: SessionKey,
}

/// `sessions.messages.subscribe`.
pub struct MessagesSubscribe;

impl Method for MessagesSubscribe {
    const NAME: &'static str = "sessions.messages.subscribe";
    const SCOPE: Scope = Scope::Read;
    type Params = MessagesParams;
    type Output = MessagesReply;

    async fn call(cx: Call, params: MessagesParams) -> Result<MessagesReply, RpcError> {
        let key = key_of(&cx.gateway, Self::NAME, &params.key)?;
        if !cx.caller.watching.add(key.clone()) {
            let text = format!("this connection watches {MAX_WATCHED} sessions already; leave one with sessions.messages.unsubscribe");
            return Err(RpcError::invalid(text).with_code("TOO_MANY_WATCHED"));
        }
        cx.then(Outgoing::Watch(Arc::clone(&cx.caller.watching), cx.gateway.hub.session_events()));
        Ok(MessagesReply { subscribed: true, key })
    }
}
