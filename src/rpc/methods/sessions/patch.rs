//! `sessions.patch`: change what is kept of a session.

use schemars::JsonSchema;
use serde::Serialize;

use super::{key_of, known_agent, refused};
use crate::protocol::error::RpcError;
use crate::protocol::ids::SessionKey;
use crate::protocol::scope::Scope;
use crate::protocol::session::entry::SessionEntry;
use crate::protocol::session::patch::PatchParams;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};
use crate::sessions::{key, patch};

/// The session after the change.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PatchReply {
    /// Always true.
    pub ok: bool,
    /// Where sessions are kept.
    pub path: String,
    /// Its canonical key.
    pub key: SessionKey,
    /// What is kept of it.
    pub entry: SessionEntry,
    /// What its next run uses.
    pub resolved: Resolved,
}

/// What a session's next run uses.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// Provider of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<String>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// `sessions.patch`.
pub struct Patch;

impl Method for Patch {
    const NAME: &'static str = "sessions.patch";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    type Params = PatchParams;
    type Output = PatchReply;

    async fn call(cx: Call, params: PatchParams) -> Result<PatchReply, RpcError> {
        let gateway = &cx.gateway;
        let key = key_of(gateway, Self::NAME, &params.key)?;
        if gateway.sessions.get(&key).await?.is_none() {
            known_agent(gateway, Self::NAME, &key)?;
        }
        let agent = key::agent_of(&key).unwrap_or_else(|| gateway.agents().default_id().clone());
        let (models, now, own) = (gateway.model_rules(&agent), gateway.now(), key.clone());
        let edit = move |row: &mut crate::store::sessions::SessionRecord| patch::apply(&mut row.entry, own.as_str(), &params, &models, now);
        let row = gateway.sessions.update(&key, now, "patch", edit).await.map_err(refused)?;
        let model = gateway.model_of(&row);
        Ok(PatchReply {
            ok: true,
            path: gateway.loaded().paths.db().display().to_string(),
            key,
            entry: row.entry,
            resolved: Resolved { model_provider: model.provider, model: model.model },
        })
    }
}
