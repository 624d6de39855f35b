//! `chat`: what a run says, as a chat shows it: the text so far, then exactly one last event.
//!
//! The text of a `delta` is everything said so far, so that a reader may miss any number of them; `deltaText` is what is new since the last one. Within a run the text only grows, and the last event's text begins with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::ids::{RunId, SessionKey};

/// Payload of the `chat` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatEvent {
    /// The run; `inject-<messageId>` for a message that no run made.
    pub run_id: RunId,
    /// Its session, canonical.
    pub session_key: SessionKey,
    /// Seq of the run's newest `agent` event behind this one; 0 for a message that no run made.
    pub seq: u64,
    /// What this event is.
    pub state: ChatState,
    /// Of a `delta`: what was said since the delta before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_text: Option<String>,
    /// Of a `delta`: `deltaText` is not the continuation of what this connection was sent before, it is the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// What was said so far, or in all; absent if that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<ChatMessage>,
    /// Why it failed, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Of a last event: `stop` (it ended by itself), `rpc`, `stop` and `interrupt` (somebody ended it), `timeout`, `overflow`, `injected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// The run whose turn answered this one too; what was said stands in its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<RunId>,
}

/// What a `chat` event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatState {
    /// The text so far.
    Delta,
    /// The run is served.
    Final,
    /// Somebody, or the time limit, ended it.
    Aborted,
    /// It could not be served.
    Error,
}

/// A message as a chat shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatMessage {
    /// `assistant`, or `user` for an injected one.
    pub role: String,
    /// Its parts.
    pub content: Vec<ChatPart>,
    /// When it was said, ms since the epoch.
    pub timestamp: u64,
}

impl ChatMessage {
    /// A message of the assistant that is one text.
    #[must_use]
    pub fn assistant(text: String, timestamp: u64) -> Self {
        Self { role: "assistant".to_owned(), content: vec![ChatPart::Text { text }], timestamp }
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ChatPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
}

impl ChatEvent {
    /// An event with only what every event has.
    #[must_use]
    pub fn new(run_id: RunId, session_key: SessionKey, seq: u64, state: ChatState) -> Self {
        Self {
            run_id,
            session_key,
            seq,
            state,
            delta_text: None,
            replace: None,
            message: None,
            error_message: None,
            stop_reason: None,
            merged_into: None,
        }
    }
}
