//! `sessions.reset`: start a session's conversation afresh.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{key_of, known_agent, not_quiet};
use crate::protocol::error::RpcError;
use crate::protocol::ids::SessionKey;
use crate::protocol::scope::Scope;
use crate::protocol::session::entry::SessionEntry;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};

/// Start a session's conversation afresh. Its runs are aborted first, waiting ones too; what was chosen for the session (levels, model, rules of exec, label) stays; the transcript is put away beside the new one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResetParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// `new` or `reset`; makes no difference.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The session after it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ResetReply {
    /// Always true.
    pub ok: bool,
    /// Its canonical key.
    pub key: SessionKey,
    /// What is kept of it.
    pub entry: SessionEntry,
}

/// `sessions.reset`.
pub struct Reset;

impl Method for Reset {
    const NAME: &'static str = "sessions.reset";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    type Params = ResetParams;
    type Output = ResetReply;

    async fn call(cx: Call, params: ResetParams) -> Result<ResetReply, RpcError> {
        let gateway = &cx.gateway;
        let key = key_of(gateway, Self::NAME, &params.key)?;
        if gateway.sessions.get(&key).await?.is_none() {
            known_agent(gateway, Self::NAME, &key)?;
        }
        let entry = gateway.reset_session(&key).await.map_err(|error| not_quiet(&key, error))?;
        Ok(ResetReply { ok: true, key, entry })
    }
}
