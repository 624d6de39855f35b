//! `chat.message.get`: one message of a session, whole.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::place;
use crate::chat::history::{Form, MAX_BYTES, shown};
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// One message of a session by the id of its entry, also where `chat.history` has cut it or left it out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub session_key: String,
    /// Agent of a key that names none; the default one if absent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// The `id` of the message's mark in `chat.history`.
    #[schemars(length(min = 1, max = 128))]
    pub message_id: String,
    /// Most characters of one text; longer ones are cut.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_chars: Option<usize>,
}

/// The message, if it is there.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetReply {
    /// Whether it was found.
    pub ok: bool,
    /// The message, marked as in `chat.history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub message: Option<Box<RawValue>>,
    /// `not_found`: there is no message with this id, or it is longer than 6 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_reason: Option<&'static str>,
}

/// `chat.message.get`.
pub struct Get;

impl Method for Get {
    const NAME: &'static str = "chat.message.get";
    const SCOPE: Scope = Scope::Read;
    type Params = GetParams;
    type Output = GetReply;

    async fn call(cx: Call, params: GetParams) -> Result<GetReply, RpcError> {
        let (_, place) = place::find(&cx, Self::NAME, params.agent_id.as_deref(), &params.session_key).await?;
        let form = Form { protocol: cx.caller.protocol, max_chars: params.max_chars };
        let message = match place {
            None => None,
            Some(place) => {
                let media = cx.gateway.media.clone();
                let find = move |transcripts: &crate::transcript::Transcripts| {
                    Ok(transcripts
                        .get(&place.path, &params.message_id, MAX_BYTES)?
                        .and_then(|row| shown(&row, form, &mut |place| media.load(Path::new(place), MAX_BYTES))))
                };
                cx.gateway.transcripts.run(find).await?
            }
        };
        Ok(GetReply { ok: message.is_some(), unavailable_reason: message.is_none().then_some("not_found"), message })
    }
}
