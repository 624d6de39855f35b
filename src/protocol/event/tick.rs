//! `tick`: a sign of life on an idle connection.

use schemars::JsonSchema;
use serde::Serialize;

/// Payload of the `tick` event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tick {
    /// Server time in ms since the epoch.
    pub ts: u64,
}
