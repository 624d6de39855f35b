//! `config.patch`: change some keys of the configuration and put them into effect.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{AppliedReply, MAX_DELAY_MS, Why, apply, save};
use crate::config::change::Edit;
use crate::config::key_path::KeyPath;
use crate::config::parse::parse;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Change some keys of the configuration and put them into effect. The patch is merged by RFC 7396 into the text as it was written: comments, `$include` and `${NAME}` stay, and neither defaults nor resolved secrets are written. A key of an included file is changed there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchParams {
    /// The patch, JSON5: null takes a key away, objects merge, lists replace. An object, unless `at` says otherwise. Markers for hidden secrets become the stored secrets.
    #[schemars(length(max = 1_048_576))]
    pub raw: String,
    /// Where the patch is merged, such as `agents.list[0].name`; the root when absent.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub at: Option<String>,
    /// `hash` of `config.get`; required when there is a file.
    #[serde(default)]
    pub base_hash: Option<String>,
    /// Known from other clients; lists are always replaced.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted for clients that send it")]
    replace_paths: Option<Vec<String>>,
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

/// `config.patch`.
pub struct Patch;

impl Method for Patch {
    const NAME: &'static str = "config.patch";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = PatchParams;
    type Output = AppliedReply;

    async fn call(cx: Call, params: PatchParams) -> Result<AppliedReply, RpcError> {
        let PatchParams { raw, at, base_hash, session_key, note, restart_delay_ms, .. } = params;
        let why = Why::new(&cx, Self::NAME, session_key.as_deref(), note)?;
        let invalid = |text: String| RpcError::invalid(text).with_code("CONFIG_PATCH_INVALID");
        let patch: Value = parse(Path::new("config.patch raw"), &raw).map_err(|error| invalid(error.to_string()))?;
        let at = KeyPath::parse(at.as_deref().unwrap_or_default());
        if at.0.is_empty() && !patch.is_object() {
            return Err(invalid("config.patch raw must be an object".to_owned()));
        }
        let _writing = cx.gateway.configuration.writing();
        let saved = save(&cx, Self::NAME, base_hash, Edit::Merge { at, patch }).await?;
        apply(&cx, saved, restart_delay_ms, why).await
    }
}
