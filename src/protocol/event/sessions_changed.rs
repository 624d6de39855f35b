//! `sessions.changed`: something happened to a session.

use schemars::JsonSchema;
use serde::Serialize;

use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::session::{SessionKind, SessionRow};

/// Payload of the `sessions.changed` event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsChanged {
    /// The session; absent = any of them may have changed, list them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<SessionKey>,
    /// Its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// What happened: `create`, `patch`, `reset`, `daily` or `idle` (the conversation started afresh), `message`, `compact`, `delete`, `import`, `resync`.
    pub reason: &'static str,
    /// `start` or `end` of a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<&'static str>,
    /// When this was sent, ms since the epoch.
    pub ts: u64,
    /// Id of its conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// What kind of conversation it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<SessionKind>,
    /// Last activity, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<u64>,
    /// Its row as it is now; absent if there is none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<SessionRow>>,
}

impl SessionsChanged {
    /// The session, or all of them, as they are now.
    #[must_use]
    pub fn new(
        session_key: Option<SessionKey>,
        reason: &'static str,
        phase: Option<&'static str>,
        ts: u64,
        row: Option<SessionRow>,
    ) -> Self {
        Self {
            session_key,
            agent_id: row.as_ref().map(|row| row.agent_id.clone()),
            reason,
            phase,
            ts,
            session_id: row.as_ref().map(|row| row.session_id.clone()),
            kind: row.as_ref().map(|row| row.kind),
            updated_at: row.as_ref().map(|row| row.updated_at),
            session: row.map(Box::new),
        }
    }
}
