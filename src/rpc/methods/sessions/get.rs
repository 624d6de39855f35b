//! `sessions.get`: the newest messages of a session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{failed, key_of};
use crate::chat::history::{Form, MAX_BYTES, fitting};
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::transcript::page::Query;

/// Messages if the client does not say.
const LIMIT: usize = 200;

/// The newest messages of a session, oldest first; none if there is no such session. `chat.history` gives them in pages.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetParams {
    /// The session, in any form.
    #[serde(alias = "sessionKey")]
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// Most messages, at most 1000; 200 if absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub limit: Option<u64>,
}

/// The messages.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GetReply {
    /// As they stand in the transcript, oldest first.
    #[schemars(with = "Vec<Value>")]
    pub messages: Vec<Box<RawValue>>,
}

/// `sessions.get`.
pub struct Get;

impl Method for Get {
    const NAME: &'static str = "sessions.get";
    const SCOPE: Scope = Scope::Read;
    type Params = GetParams;
    type Output = GetReply;

    async fn call(cx: Call, params: GetParams) -> Result<GetReply, RpcError> {
        let gateway = &cx.gateway;
        let key = key_of(gateway, Self::NAME, &params.key)?;
        let Some(session) = gateway.sessions.get(&key).await? else { return Ok(GetReply { messages: Vec::new() }) };
        let path = gateway.sessions.transcript_path(&session);
        let limit = params.limit.map_or(LIMIT, |limit| usize::try_from(limit).unwrap_or(usize::MAX)).min(1000);
        let form = Form { protocol: cx.caller.protocol, max_chars: None };
        let query = Query { limit, offset: 0, max_bytes: MAX_BYTES, numbered: form.protocol >= 4 };
        let media = gateway.media.clone();
        let read = gateway.transcripts.run(move |transcripts| Ok(fitting(&transcripts.page(&path, query)?, MAX_BYTES, form, &media).0));
        Ok(GetReply { messages: read.await.map_err(failed("the transcript could not be read"))? })
    }
}
