//! Delivery inside the process: state (newest wins), signals (must arrive), and the bell that says some run's log has grown.
//!
//! Logs themselves are not here: a reader takes a run's events from the run's own log at its own pace (`runs/log.rs`), so a slow reader costs nothing but its cursor.

pub mod hub;
pub mod state;
