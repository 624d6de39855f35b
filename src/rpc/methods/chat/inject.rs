//! `chat.inject`: put a message into a session that no run made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place;
use crate::protocol::error::RpcError;
use crate::protocol::event::chat::{ChatEvent, ChatMessage, ChatPart, ChatState};
use crate::protocol::ids::RunId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};
use crate::transcript::entry::NewEntry;
use crate::transcript::message::{self, Making};
use crate::transcript::page::Query;

/// Enough to see whether a transcript holds anything.
const ONE: Query = Query { limit: 1, offset: 0, max_bytes: 1 << 16, numbered: false };
/// What an injected message says of its making.
const INJECTED: Making<'_> = Making { api: "gateway", provider: "skykoi", model: "gateway-injected", stop_reason: "injected", error: None };

/// Put a message into a session that no run made, such as a note of an operator. Everybody who reads the chat gets it as a `chat` event of the run `inject-<messageId>`; nothing is run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InjectParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub session_key: String,
    /// Agent of a key that names none; the default one if absent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// The text.
    #[schemars(length(min = 1))]
    pub message: String,
    /// Stands in brackets before the text.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub label: Option<String>,
    /// Who says it; `assistant` if absent.
    #[serde(default)]
    pub role: Option<Role>,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user.
    User,
    /// The assistant.
    Assistant,
}

/// The message is in the transcript.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectReply {
    /// Always true.
    pub ok: bool,
    /// Id of its entry.
    pub message_id: String,
}

/// `chat.inject`.
pub struct Inject;

impl Method for Inject {
    const NAME: &'static str = "chat.inject";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    type Params = InjectParams;
    type Output = InjectReply;

    async fn call(cx: Call, params: InjectParams) -> Result<InjectReply, RpcError> {
        let (key, place) = place::find(&cx, Self::NAME, params.agent_id.as_deref(), &params.session_key).await?;
        let place = place.ok_or_else(|| RpcError::invalid("session not found").with_code("SESSION_NOT_FOUND"))?;
        let label = params.label.as_deref().map(str::trim).filter(|label| !label.is_empty());
        let text = label.map_or_else(|| params.message.clone(), |label| format!("[{label}]\n\n{}", params.message));
        let at = cx.gateway.now();
        let message = match params.role.unwrap_or(Role::Assistant) {
            Role::User => message::user(&text, at),
            Role::Assistant => message::assistant(&text, &INJECTED, at),
        };
        let (path, header, entry) = (place.path, place.header, NewEntry::message(message.clone(), at));
        let appended = cx.gateway.transcripts.run(move |transcripts| {
            // A transcript begins with a turn; without one there is no conversation to put something into.
            if transcripts.header(&path)?.is_none() && transcripts.page(&path, ONE)?.rows.is_empty() {
                return Ok(None);
            }
            transcripts.append(&path, &header, entry).map(Some)
        });
        let appended = appended.await.map_err(|error| {
            let text = if error.is_full() { "the disk is full" } else { "see the gateway's log" };
            RpcError::unavailable(format!("failed to write transcript: {text}"), error).with_code("TRANSCRIPT_UNAVAILABLE")
        })?;
        let appended = appended.ok_or_else(|| RpcError::invalid("transcript file not found").with_code("TRANSCRIPT_NOT_FOUND"))?;
        let said = ChatMessage { role: message::role(&message).to_owned(), content: vec![ChatPart::Text { text }], timestamp: at };
        cx.gateway.scribe.announce(&place.session, &appended, message);
        let mut event = ChatEvent::new(RunId(format!("inject-{}", appended.id)), key, 0, ChatState::Final);
        (event.message, event.stop_reason) = (Some(said), Some("injected".to_owned()));
        cx.gateway.hub.tell_chat(&event);
        Ok(InjectReply { ok: true, message_id: appended.id })
    }
}
