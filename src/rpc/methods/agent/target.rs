//! Which agent and session a request means.

use std::sync::Arc;

use crate::gateway::Gateway;
use crate::gateway::agents::Agent;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::protocol::ids::SessionKey;
use crate::sessions::key;

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
    let named = agent_id.map(str::trim).filter(|id| !id.is_empty());
    let agents = gateway.agents();
    let wanted = named.unwrap_or(agents.default_id().as_str());
    let agent = agents.get(wanted).map(Arc::clone).ok_or_else(|| unknown(method, wanted))?;
    let Some(text) = session_key.map(str::trim).filter(|key| !key.is_empty()) else {
        let main = key::main_key(&agent.id);
        return Ok((agent, main));
    };
    let session = key::canonical(text, &agent.id)
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
