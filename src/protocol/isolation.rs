//! Isolation and limits of runs as clients see them: the levels, what this machine can give, and what a run that has ended had.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a run is shut in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all: it can do what the gateway's user can.
    #[default]
    Off,
    /// It writes only in its workspace and in temporary directories, and does not see the gateway's state and configuration (Landlock and seccomp).
    Workspace,
    /// It also sees nothing of the machine but its workspace and trusted files, in namespaces of its own (bubblewrap).
    Strict,
}

impl Level {
    /// The word of the configuration and the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Workspace => "workspace",
            Self::Strict => "strict",
        }
    }

    /// Whether it is [`Level::Off`].
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// Whether this machine can give something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ability {
    /// Whether it can; tried, not guessed.
    pub available: bool,
    /// What is missing for it, and how to get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Ability {
    /// What a trial said: the reason if it failed.
    #[must_use]
    pub fn of(trial: Result<(), String>) -> Self {
        Self { available: trial.is_ok(), missing: trial.err() }
    }
}

/// What this machine can give to runs, found out by trying.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abilities {
    /// Version of Landlock in the kernel; 0 if it has none.
    pub landlock_abi: u32,
    /// The program `bwrap`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bubblewrap: Option<PathBuf>,
    /// Whether systemd runs this machine.
    pub systemd: bool,
    /// The control group (version 2) in which runs get groups of their own; absent where none is handed to the gateway, and limits are then those of single processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// Level `workspace` without network.
    pub workspace: Ability,
    /// Level `strict` without network.
    pub strict: Ability,
    /// Network for isolated runs, without the metadata service and the gateway's own port.
    pub filtered_network: Ability,
}

/// A control group that is the gateway's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    /// Its directory.
    pub path: PathBuf,
    /// What can be limited in it: `memory`, `cpu`, `pids`, `io`.
    pub controllers: Vec<String>,
}

/// What a run may use at most. Absent = as much as the gateway's user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Share of one processor in percent; 200 are two of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// Processor time of one process in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Weight against other runs at the disk, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u32>,
    /// Open files of one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Largest file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size_bytes: Option<u64>,
    /// How early the kernel takes it when memory is short, -1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a run is shut into and limited to, decided when it is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Isolation {
    /// How far it is shut in.
    #[serde(skip_serializing_if = "Level::is_off")]
    pub level: Level,
    /// Whether it has a network, without the metadata service and the gateway's own port.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
    /// What it sees of its workspace.
    #[serde(skip_serializing_if = "Access::is_read_write")]
    pub workspace: Access,
    /// Further files and directories that it can read on level `strict`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_only: Vec<PathBuf>,
    /// What it may use.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

impl Isolation {
    /// Whether its commands start as they would without this.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.level == Level::Off && self.limits.is_empty()
    }
}

/// What is seen of a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// It can be read and written.
    #[default]
    ReadWrite,
    /// It can be read.
    ReadOnly,
    /// An empty directory stands in its place.
    None,
}

impl Access {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde calls")]
    fn is_read_write(&self) -> bool {
        *self == Self::ReadWrite
    }
}

/// What kept a run within its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitedBy {
    /// A control group of its own: the limits hold for all of its processes together.
    Cgroup,
    /// Limits of the kernel for single processes.
    Rlimits,
}

/// Which limits a run had, and what is known of what it used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsApplied {
    /// What kept it within them.
    pub applied: LimitedBy,
    /// Configured limits that this machine could not keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Most memory of all its processes together, in bytes; known with `cgroup` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Most processes and threads at once; known with `cgroup` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_peak: Option<u64>,
    /// How long its processes had to wait because of `cpuPercent`, in ms; known with `cgroup` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_ms: Option<u64>,
}
