//! `session.message`: a message was added to the conversation of a session that the connection listens to.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::protocol::ids::SessionKey;

/// Payload of the `session.message` event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionMessage {
    /// The session, canonical.
    pub session_key: SessionKey,
    /// Its conversation.
    pub session_id: String,
    /// Id of the message in the transcript.
    pub message_id: String,
    /// Its place in the transcript.
    pub message_seq: u64,
    /// The message, as `chat.history` gives it: `role`, `content`, `timestamp` and more.
    pub message: Value,
}
