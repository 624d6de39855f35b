//! `sessions.messages.unsubscribe`: be told no longer what is said in a session.

use schemars::JsonSchema;
use serde::Deserialize;

use super::key_of;
use super::messages_subscribe::MessagesReply;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// This connection gets no more `session.message` of the session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaveParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// Accepted for existing clients: the key names the agent.
    #[serde(default)]
    pub agent_id: Option<String>,
}

/// `sessions.messages.unsubscribe`.
pub struct MessagesUnsubscribe;

impl Method for MessagesUnsubscribe {
    const NAME: &'static str = "sessions.messages.unsubscribe";
    const SCOPE: Scope = Scope::Read;
    type Params = LeaveParams;
    type Output = MessagesReply;

    async fn call(cx: Call, params: LeaveParams) -> Result<MessagesReply, RpcError> {
        let key = key_of(&cx.gateway, Self::NAME, &params.key)?;
        cx.caller.watching.remove(&key);
        Ok(MessagesReply { subscribed: false, key })
    }
}
