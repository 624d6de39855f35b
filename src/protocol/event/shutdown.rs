//! `shutdown`: the daemon stops or restarts.

use schemars::JsonSchema;
use serde::Serialize;

/// Payload of the `shutdown` event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// `gateway stopping` or `gateway restarting`.
    pub reason: &'static str,
    /// When to expect it back; null when it is not known to come back.
    pub restart_expected_ms: Option<u64>,
}
