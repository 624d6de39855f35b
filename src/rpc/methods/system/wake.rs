//! `wake`: leave a note for the main session and say when it should be looked at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::MAX_TEXT;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};

/// Leave a note for the default agent's main session. It waits there as a system event for the session's next turn; this version has no heartbeat that would look at it earlier, so both modes do the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WakeParams {
    /// When a heartbeat should look at the note.
    #[expect(dead_code, reason = "checked by the schema; there are no heartbeats that it could bring forward")]
    mode: WakeMode,
    /// The note, at most 8 KiB.
    #[schemars(length(min = 1))]
    pub text: String,
}

/// When a note should be looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum WakeMode {
    /// At once.
    Now,
    /// With the next heartbeat.
    NextHeartbeat,
}

/// Whether it was taken.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WakeReply {
    /// False if there was nothing but space in the text.
    pub ok: bool,
}

/// `wake`.
pub struct Wake;

impl Method for Wake {
    const NAME: &'static str = "wake";
    const SCOPE: Scope = Scope::Write;
    const RATE: Rate = Rate::Write;
    type Params = WakeParams;
    type Output = WakeReply;

    async fn call(cx: Call, params: WakeParams) -> Result<WakeReply, RpcError> {
        let text = params.text.trim();
        if text.len() > MAX_TEXT {
            return Err(RpcError::invalid(format!("invalid wake params: at /text: must not be longer than {MAX_TEXT} bytes")));
        }
        let main = cx.gateway.sessions.settings().main_key(cx.gateway.agents().default_id());
        cx.gateway.system_events.push(&main, text, None);
        Ok(WakeReply { ok: !text.is_empty() })
    }
}
