//! `sessions.resolve`: the canonical key of a session that is known by some name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{key_of, not_found};
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::store::sessions::SessionFilter;

/// Most sessions that an answer about a name names.
const NAMED: usize = 10;

/// The canonical key of the session with this key, id or label; exactly one of the three.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveParams {
    /// Its key, in any form.
    #[serde(default)]
    pub key: Option<String>,
    /// Id of its conversation.
    #[serde(default)]
    pub session_id: Option<String>,
    /// Its label.
    #[serde(default)]
    pub label: Option<String>,
    /// Only sessions of this agent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Only sessions that this session started.
    #[serde(default)]
    pub spawned_by: Option<String>,
    /// The session `global` too.
    #[serde(default)]
    pub include_global: Option<bool>,
    /// The session `unknown` too.
    #[serde(default)]
    pub include_unknown: Option<bool>,
}

/// The key.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ResolveReply {
    /// Always true.
    pub ok: bool,
    /// The canonical key.
    pub key: SessionKey,
}

/// `sessions.resolve`.
pub struct Resolve;

impl Method for Resolve {
    const NAME: &'static str = "sessions.resolve";
    const SCOPE: Scope = Scope::Admin;
    type Params = ResolveParams;
    type Output = ResolveReply;

    async fn call(cx: Call, params: ResolveParams) -> Result<ResolveReply, RpcError> {
        let given = |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let (key, session_id, label) = (given(&params.key), given(&params.session_id), given(&params.label));
        let filter = SessionFilter {
            limit: NAMED,
            agents: given(&params.agent_id).map(|agent| AgentId(agent.to_lowercase())).into_iter().collect(),
            spawned_by: given(&params.spawned_by),
            global: params.include_global == Some(true),
            unknown: params.include_unknown == Some(true),
            ..SessionFilter::default()
        };
        let (filter, none, many) = match (key, session_id, label) {
            (None, None, None) => return Err(named_wrong("Either key, sessionId, or label is required")),
            (Some(text), None, None) => {
                let key = key_of(&cx.gateway, Self::NAME, &text)?;
                (SessionFilter { key: Some(key), ..filter }, format!("No session found: {}", short(&text)), String::new())
            }
            (None, Some(id), None) => {
                let texts = (format!("No session found: {}", short(&id)), format!("Multiple sessions found: {}", short(&id)));
                (SessionFilter { session_id: Some(id), ..filter }, texts.0, texts.1)
            }
            (None, None, Some(label)) => {
                let texts = (
                    format!("No session found with label: {}", short(&label)),
                    format!("Multiple sessions found with label: {}", short(&label)),
                );
                (SessionFilter { label: Some(label), ..filter }, texts.0, texts.1)
            }
            _ => return Err(named_wrong("Provide either key, sessionId, or label (not multiple)")),
        };
        let page = cx.gateway.store.sessions(filter).await?;
        let mut keys: Vec<_> = page.rows.into_iter().map(|row| row.session.key).collect();
        match (keys.pop(), keys.is_empty()) {
            (None, _) => Err(not_found(none)),
            (Some(key), true) => Ok(ResolveReply { ok: true, key }),
            (Some(last), false) => {
                keys.push(last);
                let keys = keys.iter().map(SessionKey::as_str).collect::<Vec<_>>().join(", ");
                Err(RpcError::invalid(format!("{many} ({keys})")).with_code("SESSION_AMBIGUOUS"))
            }
        }
    }
}

fn named_wrong(text: &'static str) -> RpcError {
    RpcError::invalid(text).with_code("SESSION_NAME")
}
