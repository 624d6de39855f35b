//! `config.set`: write the whole configuration file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::save;
use crate::config::change::Edit;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Write the whole configuration file. It is only written: the watcher takes it a moment later, by `gateway.reload.mode`. Nothing is saved that would not start.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetParams {
    /// The text, JSON5. Markers for hidden secrets become the stored secrets.
    #[schemars(length(max = 1_048_576))]
    pub raw: String,
    /// `hash` of `config.get`; required when there is a file.
    #[serde(default)]
    pub base_hash: Option<String>,
    /// Also over a file that does not parse, and when the text shrinks by more than half.
    #[serde(default)]
    pub force: bool,
}

/// What was saved.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetReply {
    /// Always true.
    pub ok: bool,
    /// The configuration file.
    pub path: String,
    /// The configuration as it is now, with defaults, secrets hidden.
    pub config: Value,
    /// Hash of the files as they are now, for the next change.
    pub hash: Option<String>,
    /// Whether every byte is as it was, so that nothing was written.
    pub noop: bool,
    /// The keys that changed, without their values.
    pub changed: Vec<String>,
}

/// `config.set`.
pub struct Set;

impl Method for Set {
    const NAME: &'static str = "config.set";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = SetParams;
    type Output = SetReply;

    async fn call(cx: Call, params: SetParams) -> Result<SetReply, RpcError> {
        let SetParams { raw, base_hash, force } = params;
        // A watcher that is quicker than this answer would restart the gateway before it.
        let writing = cx.gateway.configuration.writing();
        cx.after(move || drop(writing));
        let saved = save(&cx, Self::NAME, base_hash, Edit::Replace { raw, force }).await?;
        Ok(SetReply {
            ok: true,
            path: saved.loaded.path.display().to_string(),
            config: saved.loaded.show(),
            hash: saved.loaded.hash.clone(),
            noop: !saved.written,
            changed: saved.changed.iter().map(ToString::to_string).collect(),
        })
    }
}
