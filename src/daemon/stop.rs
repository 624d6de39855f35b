//! The staged stop: no new peers, tell those that are there, let what was promised leave, close the store. Runs are left to their shims.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{STOP, notify};
use crate::audit::{Action, Event};
use crate::gateway::Gateway;
use crate::protocol::codes::SERVICE_RESTART;
use crate::protocol::event::shutdown::Shutdown;
use crate::transport::connection::Front;
use crate::transport::listener::Listeners;

/// How long open requests get, and whatever does not end by itself.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long peers get to take what is on its way to them. Those that take it and do not close are left sooner.
const TOLD: Duration = Duration::from_secs(3);
/// When to expect the daemon back after a stop by its supervisor.
const RESTART_EXPECTED_MS: u64 = 1500;

/// Stops everything, in order; `restart`: this process goes on with a new start.
pub async fn stop(gateway: &Arc<Gateway>, front: &Arc<Front>, listeners: &Listeners, restart: bool) {
    let stopped = tokio::time::timeout(STOP, stages(gateway, front, listeners, restart)).await;
    if stopped.is_err() {
        warn!("the stop took too long; ending with what is committed");
    }
}

async fn stages(gateway: &Arc<Gateway>, front: &Arc<Front>, listeners: &Listeners, restart: bool) {
    // A supervisor that hears of a stop would wait for the end of this process, and then end it.
    notify(&[if restart { sd_notify::NotifyState::Reloading } else { sd_notify::NotifyState::Stopping }]);
    gateway.begin_stop();
    listeners.close(FAREWELL).await;
    let shutdown = Shutdown {
        reason: if restart { "gateway restarting" } else { "gateway stopping" },
        restart_expected_ms: Some(RESTART_EXPECTED_MS),
    };
    gateway.hub.signal("shutdown", &shutdown);
    gateway.hub.close_connections(SERVICE_RESTART.0, SERVICE_RESTART.1);
    if !front.tasks().drain(TOLD).await {
        // Peers that do not read are not waited for.
        front.tasks().stop(FAREWELL).await;
    }
    let runs = gateway.runs.counts();
    if let Err(cause) = gateway.store.close().await {
        warn!(%cause, "the store did not close cleanly; what was committed is safe");
    }
    let last = Event::new(Action::Stop).because(if restart { "restart" } else { "stop" });
    if let Err(cause) = gateway.audit.close(last.with("running", runs.running).with("queued", runs.queued)).await {
        warn!(%cause, "the audit log did not close in order");
    }
    info!(running = runs.running, queued = runs.queued, "stopped; runs at work go on and are taken over at the next start");
}
