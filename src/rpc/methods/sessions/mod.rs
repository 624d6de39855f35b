//! Sessions.

pub mod compact;
pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
pub mod import;
pub mod list;
pub mod messages_subscribe;
pub mod messages_unsubscribe;
pub mod patch;
pub mod preview;
pub mod reset;
pub mod resolve;
pub mod subscribe;
pub mod unsubscribe;
pub mod usage;

use crate::gateway::Gateway;
use crate::gateway::quiet::NotQuiet;
use crate::protocol::error::{ErrorCode, RpcError};
use crate::protocol::frame::short;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::store::StoreError;
use crate::transcript::error::TranscriptError;

/// The canonical session key of a request.
///
/// # Errors
/// A key that means nothing.
fn key_of(gateway: &Gateway, method: &str, text: &str) -> Result<SessionKey, RpcError> {
    gateway
        .sessions
        .settings()
        .canonical(text, gateway.agents().default_id())
        .map_err(|problem| RpcError::invalid(format!("invalid {method} params: at /key: {problem}")).with_code("INVALID_SESSION_KEY"))
}

/// The agent of a session that is about to be made.
///
/// # Errors
/// It is not configured.
fn known_agent(gateway: &Gateway, method: &str, key: &SessionKey) -> Result<(), RpcError> {
    match crate::sessions::key::agent_of(key) {
        Some(agent) if gateway.agents().get(agent.as_str()).is_none() => {
            Err(RpcError::invalid(format!("invalid {method} params: unknown agent id \"{}\"", short(agent.as_str())))
                .with_code("AGENT_NOT_FOUND"))
        }
        _ => Ok(()),
    }
}

/// What a change of a session answers when it is not made: the rule's own words, or that the store does not take it.
pub(super) fn refused(error: StoreError) -> RpcError {
    match error {
        StoreError::Refused(text) => RpcError::invalid(text).with_code("SESSION_REFUSED"),
        other => other.into(),
    }
}

/// A transcript that could not be read or written. Its place is for the log.
fn failed(text: &'static str) -> impl Fn(TranscriptError) -> RpcError {
    move |error| RpcError::unavailable(text, error).with_code("TRANSCRIPT_UNAVAILABLE")
}

/// The session has work that did not end in time.
fn still_active(key: &SessionKey) -> RpcError {
    let text = format!("Session {} is still active; try again in a moment.", key.as_str());
    let mut error = RpcError::new(ErrorCode::Unavailable, text).with_code("SESSION_ACTIVE");
    error.retryable = Some(true);
    error.retry_after_ms = Some(1000);
    error
}

/// Why a session was left as it is.
pub(super) fn not_quiet(key: &SessionKey, error: NotQuiet) -> RpcError {
    match error {
        NotQuiet::Active => still_active(key),
        NotQuiet::Store(error) => refused(error),
        NotQuiet::Transcript(error) => failed("the old transcript could not be put away")(error),
    }
}

fn not_found(text: String) -> RpcError {
    RpcError::invalid(text).with_code("SESSION_NOT_FOUND")
}

/// The directory in which an agent's conversations take place, for the header of a transcript.
fn cwd_of(gateway: &Gateway, agent: &AgentId) -> String {
    gateway.agents().get(agent.as_str()).map(|agent| agent.workspace.display().to_string()).unwrap_or_default()
}
