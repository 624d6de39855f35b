//! `config.changed`: the configuration file has changed, and what became of it.

use schemars::JsonSchema;
use serde::Serialize;

/// One thing that is wrong with the configuration. No text ever carries a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfigIssue {
    /// The key, such as `gateway.port`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The file that it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    /// Nothing was to be done, or nothing was done because the file is wrong.
    #[default]
    None,
    /// Every change is in effect.
    Hot,
    /// What can change in flight has; `restartNeeded` names the rest, which waits for a restart.
    RestartNeeded,
    /// The gateway restarts itself now to take the change. Runs go on.
    Restart,
}

/// Payload of the `config.changed` event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigChanged {
    /// When, ms since the epoch.
    pub ts: u64,
    /// The configuration file.
    pub path: String,
    /// Hash of what is on disk now, as `config.get` gives it; absent when there is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Hash of what is in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_hash: Option<String>,
    /// Whether what is on disk is right. If not, everything stays as it was.
    pub valid: bool,
    /// What became of it.
    pub applied: Applied,
    /// The keys that changed, without their values.
    pub changed: Vec<String>,
    /// Changed keys that wait for a restart.
    pub restart_needed: Vec<String>,
    /// What is wrong; empty when `valid`.
    pub issues: Vec<ConfigIssue>,
}
