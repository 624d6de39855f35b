//! `health`: how the gateway is. The same summary answers the `health` method and stands in hello.

use schemars::JsonSchema;
use serde::Serialize;

use super::config::ConfigIssue;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::ready::Ready;
use crate::protocol::system::SystemInfo;

/// Health of the gateway. The keys about channels exist for clients of the original; this gateway has none.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthSummary {
    /// Whether everything works.
    pub ok: bool,
    /// What does not, empty when `ok`.
    pub failing: Vec<&'static str>,
    /// Safe mode: earlier daemons crashed, so runs that were found queued are held for a while. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub safe_mode: bool,
    /// When this was taken, ms since the epoch.
    pub ts: u64,
    /// How long taking it lasted.
    pub duration_ms: u64,
    /// How long the daemon has been up.
    pub uptime_ms: u64,
    /// Open connections past their handshake.
    pub connections: usize,
    /// Runs at work and waiting.
    pub runs: RunCounts,
    /// Always empty.
    pub channels: Empty,
    /// Always empty.
    pub channel_order: Vec<String>,
    /// Always empty.
    pub channel_labels: Empty,
    /// Heartbeat interval; 0 = off. There are no heartbeats yet.
    pub heartbeat_seconds: u64,
    /// The default agent.
    pub default_agent_id: AgentId,
    /// The configured agents.
    pub agents: Ready<Vec<AgentHealth>>,
    /// Sessions of all agents.
    pub sessions: SessionCounts,
    /// The machine and what the runs use of it, as of the last look; null before the first.
    pub system: Ready<Option<SystemInfo>>,
    /// The configuration.
    pub config: ConfigHealth,
    /// The audit log: its head, to be kept elsewhere.
    pub audit: AuditHealth,
}

/// The head of the audit log. Who keeps it can show later that nothing before it was changed or cut off (`audit verify --head N:HASH`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditHealth {
    /// Whether records are written.
    pub ok: bool,
    /// Number of the last record; 0 = there is none.
    pub n: u64,
    /// Its hash, SHA-256 in hexadecimal.
    pub hash: String,
    /// The gateway's public key, Ed25519 in base64url, which signs heads.
    pub key: String,
}

/// Whether what is in effect is what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigHealth {
    /// Whether the file on disk is right. If not, the last right one stays in effect.
    pub valid: bool,
    /// Hash of what is in effect; absent when there is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What is wrong with the file, with file, line and column.
    pub issues: Vec<ConfigIssue>,
    /// Changed keys that wait for a restart.
    pub restart_needed: Vec<String>,
    /// How changes are noticed: `inotify`, or `polling` every 5 s when the system has no inotify instance left.
    pub watcher: &'static str,
}

/// An object without keys.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Empty {}

/// How many runs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunCounts {
    /// At work.
    pub running: usize,
    /// Waiting for their session or a permit.
    pub queued: usize,
    /// Most that may be at work at once.
    pub max: usize,
}

/// One agent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentHealth {
    /// The agent.
    pub agent_id: AgentId,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether requests that name no agent go to it.
    pub is_default: bool,
    /// What runs its turns.
    pub runner: String,
    /// Its regular wake-ups.
    pub heartbeat: HeartbeatHealth,
    /// Its sessions.
    pub sessions: SessionCounts,
}

/// The regular wake-ups of an agent. There are none yet, whatever is configured.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatHealth {
    /// Always false.
    pub enabled: bool,
    /// Always `disabled`.
    pub every: &'static str,
    /// Always null.
    pub every_ms: Option<u64>,
    /// What the agent would be told.
    pub prompt: String,
    /// Where an answer would go.
    pub target: String,
    /// The model that would be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Answers up to this many characters that only acknowledge would be dropped.
    pub ack_max_chars: u64,
}

/// Sessions known to the store.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct SessionCounts {
    /// Where they are kept.
    pub path: String,
    /// How many.
    pub count: u64,
    /// The newest five.
    pub recent: Vec<RecentSession>,
}

/// A recently used session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentSession {
    /// The session.
    pub key: SessionKey,
    /// Last use, ms since the epoch.
    pub updated_at: u64,
    /// Time since then in ms.
    pub age: u64,
}
