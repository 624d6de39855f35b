//! `config.apply`: write the whole configuration file and put it into effect.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AppliedReply, MAX_DELAY_MS, Why, apply, save};
use crate::config::change::Edit;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Write the whole configuration file and put it into effect, whatever `gateway.reload.mode` says about unasked changes. The gateway restarts only for keys that need it, and only if the mode lets it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyParams {
    /// The text, JSON5. Markers for hidden secrets become the stored secrets.
    #[schemars(length(max = 1_048_576))]
    pub raw: String,
    /// `hash` of `config.get`; required when there is a file.
    #[serde(default)]
    pub base_hash: Option<String>,
    /// Also over a file that does not parse, and when the text shrinks by more than half.
    #[serde(default)]
    pub force: bool,
    /// The session that is told of a restart, in any form; the default agent's main session if absent.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub session_key: Option<String>,
    /// Why. If a restart follows, it comes back with the answer, and after the restart the session finds it as a system event.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub note: Option<String>,
    /// Time until a restart, if one is needed, ms; 2000 when absent, and at least 100.
    #[serde(default)]
    #[schemars(range(max = MAX_DELAY_MS))]
    pub restart_delay_ms: Option<u64>,
}

/// `config.apply`.
pub struct Apply;

impl Method for Apply {
    const NAME: &'static str = "config.apply";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = ApplyParams;
    type Output = AppliedReply;

    async fn call(cx: Call, params: ApplyParams) -> Result<AppliedReply, RpcError> {
        let ApplyParams { raw, base_hash, force, session_key, note, restart_delay_ms } = params;
        let why = Why::new(&cx, Self::NAME, session_key.as_deref(), note)?;
        let _writing = cx.gateway.configuration.writing();
        let saved = save(&cx, Self::NAME, base_hash, Edit::Replace { raw, force }).await?;
        apply(&cx, saved, restart_delay_ms, why).await
    }
}
