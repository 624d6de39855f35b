//! What a running daemon does on its own: publish presence and health, feed the watchdog, forget what is past retention.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::notify;
use crate::gateway::Gateway;
use crate::store::error::StoreError;

/// How often retention is looked after.
const PRUNE: Duration = Duration::from_secs(3600);
/// Pause between two batches of deletions; file systems slow down after thousands at once.
const PRUNE_PAUSE: Duration = Duration::from_millis(200);

/// Starts the tasks; they end with the gateway's.
pub fn start(gateway: &Arc<Gateway>) {
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("presence", async move { shared.presence.publish(shared.tasks.stop_token()).await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("health", async move { shared.watch_health().await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("prune", async move { prune(shared).await });
    if let Some(limit) = sd_notify::watchdog_enabled() {
        let shared = Arc::clone(gateway);
        gateway.tasks.spawn("watchdog", async move { watchdog(shared, limit / 3).await });
    }
}

/// Reports life only if the runtime and the store's writer both answer, so that a hung daemon is restarted.
async fn watchdog(gateway: Arc<Gateway>, period: Duration) {
    let stop = gateway.tasks.stop_token();
    loop {
        match gateway.store.ping().await {
            Ok(()) => notify(&[sd_notify::NotifyState::Watchdog]),
            Err(cause) => warn!(%cause, "the store does not answer; the watchdog is not fed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
    }
}

async fn prune(gateway: Arc<Gateway>) {
    let stop = gateway.tasks.stop_token();
    loop {
        if let Err(cause) = prune_once(&gateway).await {
            warn!(%cause, "old runs could not be forgotten; tried again in an hour");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNE) => {}
        }
    }
}

async fn prune_once(gateway: &Gateway) -> Result<(), StoreError> {
    loop {
        let pruned = gateway.store.prune(gateway.now()).await?;
        if pruned.expired.is_empty() {
            return Ok(());
        }
        let runs_dir = gateway.loaded().paths.runs_dir();
        let mut gone = Vec::with_capacity(pruned.expired.len());
        for run in pruned.expired {
            let path = runs_dir.join(&run.journal_month).join(format!("{}.ndjson", run.file_id));
            match tokio::fs::remove_file(&path).await {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    warn!(path = %path.display(), %cause, "a journal cannot be deleted")
                }
                _ => gone.push(run.file_id),
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        info!(runs = gone.len(), "forgot runs past retention");
        gateway.store.forget_runs(gone).await?;
        tokio::time::sleep(PRUNE_PAUSE).await;
    }
}
