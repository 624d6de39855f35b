//! The machine and what the runs use of it: the `system` block of `health` and `status`.

use schemars::JsonSchema;
use serde::Serialize;

use super::ids::{AgentId, RunId, SessionKey};

/// The machine, as it was at `ts`. Rates are over the time since the sample before, `intervalMs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfo {
    /// When this was looked at, ms since the epoch.
    pub ts: u64,
    /// Time that the rates are over, in ms.
    pub interval_ms: u64,
    /// Processors.
    pub cpu: CpuInfo,
    /// Memory.
    pub memory: MemoryInfo,
    /// File systems.
    pub disk: DiskInfo,
    /// The network, without the loopback.
    pub network: NetworkInfo,
    /// Always null: this gateway looks for no GPU.
    pub gpu: (),
    /// How long the machine has been up, in ms.
    pub uptime_ms: u64,
    /// The machine itself.
    pub host: HostInfo,
    /// What the runs at work use.
    pub runs: Vec<RunUse>,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CpuInfo {
    /// Share of the time in which they worked, over all of them, 0 to 100.
    pub percent: f64,
    /// How many there are.
    pub count: u32,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// What they call themselves; null if the kernel does not say.
    pub model: Option<String>,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryInfo {
    /// All of it.
    pub total: u64,
    /// What cannot be had without swapping.
    pub used: u64,
    /// What can.
    pub available: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Swap space in use.
    pub swap_used: u64,
}

/// File systems; null until they were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiskInfo {
    /// The one of the state directory.
    pub state: Option<DiskSpace>,
    /// The one of the default agent's workspace.
    pub workspace: Option<DiskSpace>,
}

/// One file system, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiskSpace {
    /// The directory that was asked about.
    pub path: String,
    /// Its size.
    pub total: u64,
    /// What is in use.
    pub used: u64,
    /// What this user can still write.
    pub available: u64,
}

/// The network, without the loopback and the inner sides of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInfo {
    /// Bytes received per second.
    pub down_bytes_per_second: u64,
    /// Bytes sent per second.
    pub up_bytes_per_second: u64,
    /// Bytes received since the machine started.
    pub down_bytes: u64,
    /// Bytes sent since the machine started.
    pub up_bytes: u64,
}

/// Facts about the machine that do not change while it is up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HostInfo {
    /// Its name.
    pub name: String,
    /// The operating system, such as `Ubuntu 22.04.5 LTS`.
    pub os: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Kind of processor, such as `x86_64`.
    pub arch: String,
    /// What the maker calls it; on a cloud the type of the instance. Null if it does not say.
    pub product: Option<String>,
}

/// What a run uses: its processes and the one that hosts them.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunUse {
    /// The run.
    pub run_id: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// Processor time over the interval; 100 is one processor at full work.
    pub cpu_percent: f64,
    /// Memory in bytes; what processes share is counted for each.
    pub rss_bytes: u64,
    /// How many processes it has.
    pub processes: u32,
}
