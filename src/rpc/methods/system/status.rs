//! `status`: what an operator wants to see at a glance.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sessions_status::{HeartbeatStatus, SessionsStatus};
use crate::gateway::agents::Agent;
use crate::gateway::certificate::TlsStatus;
use crate::gateway::runners::RunnerRow;
use crate::gateway::{Gateway, VERSION};
use crate::protocol::error::RpcError;
use crate::protocol::event::health::{AgentHealth, AuditHealth, ConfigHealth, RunCounts};
use crate::protocol::ids::AgentId;
use crate::protocol::isolation::{Abilities, Level, Limits};
use crate::protocol::ready::Ready;
use crate::protocol::scope::Scope;
use crate::protocol::system::SystemInfo;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Version, load and places of the running gateway.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct StatusParams {}

/// The gateway at a glance.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    /// Version of the program.
    pub version: &'static str,
    /// Name of the machine.
    pub host: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Changes with every start.
    pub boot_id: String,
    /// How long it has been up.
    pub uptime_ms: u64,
    /// Whether everything works.
    pub ok: bool,
    /// What does not.
    pub failing: Vec<&'static str>,
    /// The configuration file.
    pub config_path: String,
    /// The state directory.
    pub state_dir: String,
    /// Open connections past their handshake.
    pub connections: usize,
    /// Runs at work and waiting.
    pub runs: RunCounts,
    /// The configured agents.
    pub agents: Ready<Vec<AgentHealth>>,
    /// Regular wake-ups of the agents.
    pub heartbeat: HeartbeatStatus,
    /// Sessions.
    pub sessions: SessionsStatus,
    /// The store.
    pub store: StoreStatus,
    /// The daemon's memory.
    pub memory: MemoryStatus,
    /// TLS of the TCP listener; null while it speaks plainly.
    pub tls: Option<TlsStatus>,
    /// The audit log: its head, to be kept elsewhere.
    pub audit: AuditHealth,
    /// The configuration: whether the file on disk is right, and what waits for a restart.
    pub config: ConfigHealth,
    /// The machine and what the runs use of it, at most a second old; null if it cannot be looked at.
    pub system: Option<SystemInfo>,
    /// What isolates and limits runs.
    pub isolation: IsolationStatus,
    /// What can turn messages into work, as `runners.list` tells it.
    pub runners: Vec<RunnerRow>,
    /// Warnings about the configuration, and what to do about safe mode.
    pub warnings: Vec<String>,
    /// Lines about channels; always empty.
    pub channel_summary: Vec<String>,
    /// System events that wait for the default agent's main session, oldest first.
    pub queued_system_events: Vec<String>,
}

/// What isolates and limits runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolationStatus {
    /// That of each agent's runs.
    pub agents: Vec<AgentIsolationStatus>,
    /// What this machine can give, tried at most once a minute; null if it cannot be tried.
    pub host: Option<Abilities>,
}

/// The isolation of an agent's runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentIsolationStatus {
    /// The agent.
    pub agent_id: AgentId,
    /// How far its runs are shut in.
    pub level: Level,
    /// Whether its main session is isolated too.
    pub main_too: bool,
    /// Whether isolated runs have a network.
    pub network: bool,
    /// What its runs may use.
    pub limits: Limits,
}

/// The store.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// Operations waiting for the writer.
    pub waiting: usize,
    /// Duration of the last commit in µs.
    pub last_commit_us: u64,
    /// Longest commit since the start in µs.
    pub max_commit_us: u64,
}

/// The daemon's memory.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// Resident set in bytes; 0 if the kernel does not say.
    pub rss_bytes: u64,
}

/// `status`.
pub struct Status;

impl Method for Status {
    const NAME: &'static str = "status";
    const SCOPE: Scope = Scope::Read;
    const LOOSE: bool = true;
    type Params = StatusParams;
    type Output = StatusReply;

    async fn call(cx: Call, _params: StatusParams) -> Result<StatusReply, RpcError> {
        let gateway = &cx.gateway;
        let loaded = gateway.loaded();
        let system = gateway.system().await.map(|system| SystemInfo::clone(&system));
        let failing = gateway.failing();
        let latency = gateway.store.latency();
        Ok(StatusReply {
            version: VERSION,
            host: gateway.host.clone(),
            pid: std::process::id(),
            boot_id: gateway.boot_id.clone(),
            uptime_ms: gateway.uptime_ms(),
            ok: failing.is_empty(),
            failing,
            config_path: loaded.path.display().to_string(),
            state_dir: loaded.paths.state_dir.display().to_string(),
            connections: gateway.access.connections(),
            runs: gateway.runs.counts(),
            agents: gateway.health.agents(),
            heartbeat: HeartbeatStatus::of(gateway),
            sessions: SessionsStatus::of(gateway).await?,
            store: StoreStatus { waiting: gateway.store.waiting(), last_commit_us: latency.last_us, max_commit_us: latency.max_us },
            memory: MemoryStatus { rss_bytes: rss_bytes() },
            tls: gateway.certificate.get(),
            audit: gateway.audit_health(),
            config: gateway.configuration.health(),
            system,
            isolation: IsolationStatus { agents: isolations(gateway), host: gateway.abilities().await },
            runners: gateway.runners(),
            warnings: warnings(gateway),
            channel_summary: Vec::new(),
            queued_system_events: gateway.system_events.waiting(&gateway.sessions.settings().main_key(gateway.agents().default_id())),
        })
    }
}

fn isolations(gateway: &Gateway) -> Vec<AgentIsolationStatus> {
    let agents = gateway.agents();
    let of = |agent: &Arc<Agent>| AgentIsolationStatus {
        agent_id: agent.id.clone(),
        level: agent.isolation.isolated.level,
        main_too: agent.isolation.main_too,
        network: agent.isolation.isolated.network,
        limits: agent.isolation.isolated.limits.clone(),
    };
    agents.all().iter().map(of).collect()
}

fn warnings(gateway: &Gateway) -> Vec<String> {
    let mut warnings = gateway.loaded().warnings.clone();
    if gateway.in_safe_mode() {
        warnings.push(format!(
            "safe mode: the last daemons ended without an orderly stop, so {} queued runs are held. They start when this daemon has been up for {} s, or after an orderly restart; runs.abort takes a suspect out before",
            gateway.runs.held_count(),
            gateway.loaded().config.gateway.limits.safe_mode_window_ms / 1000,
        ));
    }
    warnings
}

/// Resident set of this process, from `/proc/self/statm`.
fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
