//! `sessions.create`: make a session before anything is said in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{key_of, known_agent, refused};
use crate::protocol::error::RpcError;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::scope::Scope;
use crate::protocol::session::entry::SessionEntry;
use crate::protocol::session::patch::PatchParams;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};
use crate::sessions::{key, patch};
use crate::store::sessions::SessionRecord;

/// Make a session before anything is said in it; one that is there already is only given the label and the model. Messages are sent with `chat.send` or `agent`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateParams {
    /// Its key, in any form; a new one if absent.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub key: Option<String>,
    /// Its agent, if the key names none; the default one if absent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// A name of at most 64 characters that no other session has.
    #[serde(default)]
    pub label: Option<String>,
    /// The model of its runs.
    #[serde(default)]
    pub model: Option<String>,
    /// The session it comes from; must exist.
    #[serde(default)]
    pub parent_session_key: Option<String>,
}

/// The session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateReply {
    /// Always true.
    pub ok: bool,
    /// Its canonical key.
    pub key: SessionKey,
    /// Id of its conversation.
    pub session_id: String,
    /// What is kept of it.
    pub entry: SessionEntry,
    /// Always false: nothing was said.
    pub run_started: bool,
}

/// `sessions.create`.
pub struct Create;

impl Method for Create {
    const NAME: &'static str = "sessions.create";
    const SCOPE: Scope = Scope::Write;
    const RATE: Rate = Rate::Write;
    type Params = CreateParams;
    type Output = CreateReply;

    async fn call(cx: Call, params: CreateParams) -> Result<CreateReply, RpcError> {
        let gateway = &cx.gateway;
        let agent =
            params.agent_id.as_deref().map_or_else(|| gateway.agents().default_id().clone(), |id| AgentId(id.trim().to_lowercase()));
        let text = params.key.filter(|key| !key.trim().is_empty());
        let text = text.unwrap_or_else(|| format!("agent:{agent}:dashboard:{}", uuid::Uuid::new_v4()));
        let key = gateway.sessions.settings().canonical(&text, &agent).map_err(|problem| {
            RpcError::invalid(format!("invalid {} params: at /key: {problem}", Self::NAME)).with_code("INVALID_SESSION_KEY")
        })?;
        known_agent(gateway, Self::NAME, &key)?;
        if let Some(parent) = params.parent_session_key.as_deref().filter(|parent| !parent.trim().is_empty()) {
            let parent = key_of(gateway, Self::NAME, parent)?;
            if gateway.sessions.get(&parent).await?.is_none() {
                return Err(super::not_found(format!("unknown parent session: {parent}")));
            }
        }
        let given = |text: Option<String>| text.map(Some);
        let change = PatchParams { label: given(params.label), model: given(params.model), ..PatchParams::default() };
        let agent = key::agent_of(&key).unwrap_or(agent);
        let (models, now, own) = (gateway.model_rules(&agent), gateway.now(), key.clone());
        let edit = move |row: &mut SessionRecord| patch::apply(&mut row.entry, own.as_str(), &change, &models, now);
        let row = gateway.sessions.update(&key, now, "create", edit).await.map_err(refused)?;
        Ok(CreateReply { ok: true, key, session_id: row.entry.session_id.clone(), entry: row.entry, run_started: false })
    }
}
