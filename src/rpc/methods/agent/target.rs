//! Which agent and session a request means.

use std::sync::Arc;

use crate::exec::policy::rule::Wish;
use crate::gateway::Gateway;
use crate::gateway::agents::Agent;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::protocol::ids::AgentId;
use crate::protocol::ids::SessionKey;
use crate::sessions::dm::{Peer, session_of};
use crate::sessions::key;
use crate::sessions::send::{self, Sender};
use crate::store::sessions::SessionRecord;

use super::run::RunParams;

/// The agent and the canonical session of a request to `method`.
///
/// # Errors
/// An unknown agent, a key that means nothing, or an agent and a key that do not go together.
pub fn resolve(
    gateway: &Gateway,
    method: &str,
    agent_id: Option<&str>,
    session_key: Option<&str>,
) -> Result<(Arc<Agent>, SessionKey), RpcError> {
    let sessions = gateway.sessions.settings();
    let named = agent_id.map(str::trim).filter(|id| !id.is_empty());
    let agents = gateway.agents();
    let wanted = named.unwrap_or(agents.default_id().as_str());
    let agent = agents.get(wanted).map(Arc::clone).ok_or_else(|| unknown(method, wanted))?;
    let Some(text) = session_key.map(str::trim).filter(|key| !key.is_empty()) else {
        let main = sessions.main_key(&agent.id);
        return Ok((agent, main));
    };
    let session = sessions
        .canonical(text, &agent.id)
        .map_err(|problem| RpcError::invalid(format!("invalid {method} params: at /sessionKey: {problem}")))?;
    let Some(owner) = key::agent_of(&session) else { return Ok((agent, session)) };
    if owner == agent.id {
        return Ok((agent, session));
    }
    if let Some(named) = named {
        let text = format!("invalid {method} params: agent \"{}\" does not match session key agent \"{owner}\"", short(named));
        return Err(RpcError::invalid(text).with_code("AGENT_MISMATCH"));
    }
    let agent = agents.get(owner.as_str()).map(Arc::clone).ok_or_else(|| unknown(method, owner.as_str()))?;
    Ok((agent, session))
}

fn unknown(method: &str, id: &str) -> RpcError {
    RpcError::invalid(format!("invalid {method} params: unknown agent id \"{}\"", short(id))).with_code("AGENT_NOT_FOUND")
}

/// The session of a message that names no session but its sender.
#[must_use]
pub fn of_sender(gateway: &Gateway, agent: &AgentId, session: SessionKey, params: &RunParams) -> SessionKey {
    let settings = gateway.sessions.settings();
    let named = params.session_key.as_deref().is_some_and(|key| !key.trim().is_empty());
    match params.to.as_deref().filter(|_| !named && !settings.is_global()) {
        None => session,
        Some(id) => {
            let channel = params.channel.as_deref().filter(|channel| !matches!(*channel, "" | "last")).unwrap_or("webchat");
            session_of(&settings.rules, agent, Peer { channel: Some(channel), account: params.account_id.as_deref(), id })
        }
    }
}

/// Whether a session takes messages: its own word, else the rules of the configuration. `known` is the session, or none if it is not kept.
///
/// # Errors
/// It takes no messages.
pub fn may_send_in(gateway: &Gateway, session: &SessionKey, known: Option<&SessionRecord>, channel: Option<&str>) -> Result<(), RpcError> {
    let entry = known.map(|known| &known.entry);
    let sender = Sender {
        key: session.as_str(),
        own: entry.and_then(|entry| entry.send_policy.as_deref()),
        channel: channel.filter(|channel| !matches!(*channel, "" | "last")).or_else(|| entry.and_then(|entry| entry.channel.as_deref())),
        chat_type: entry.and_then(|entry| entry.chat_type.as_deref()),
    };
    if send::may_send(&gateway.sessions.settings().rules, sender) {
        return Ok(());
    }
    Err(RpcError::invalid("send blocked by session policy").with_code("SEND_DENIED"))
}

/// How strict a session wants its commands to be.
#[must_use]
pub fn exec_wish(known: Option<&SessionRecord>) -> Wish {
    known.map_or_else(Wish::default, |known| Wish::of_words(known.entry.exec_security.as_deref(), known.entry.exec_ask.as_deref()))
}
