//! What a running daemon does on its own: publish presence and health, feed the watchdog, forget what is past retention, leave safe mode.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::notify;
use crate::audit::{Action, Event};
use crate::clock::steady;
use crate::gateway::Gateway;
use crate::memory;
use crate::store::RETENTION_MS;
use crate::store::error::StoreError;
use crate::tasks::keep_a_thread;

/// How often retention is looked after.
const PRUNE: Duration = Duration::from_secs(3600);
/// Pause between two batches of deletions; file systems slow down after thousands at once.
const PRUNE_PAUSE: Duration = Duration::from_millis(200);

/// Starts the tasks; they end with the gateway's.
pub fn start(gateway: &Arc<Gateway>) {
    gateway.tasks.spawn("thread", keep_a_thread(gateway.tasks.stop_token()));
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("presence", async move { shared.presence.publish(shared.tasks.stop_token()).await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("health", async move { shared.watch_health().await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("sessions.announce", async move { shared.announce_sessions().await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("audit", async move { shared.audit.keep(shared.tasks.stop_token()).await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("pairing.expire", async move { shared.expire_pairings().await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("sessions.retire", async move { shared.retire_subagents().await });
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("prune", async move { prune(shared).await });
    gateway.tasks.spawn("memory", memory::keep(gateway.tasks.stop_token()));
    if gateway.in_safe_mode() {
        let shared = Arc::clone(gateway);
        gateway.tasks.spawn("safe-mode", async move { calm_down(shared).await });
    }
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("transcripts", async move {
        if let Err(cause) = shared.runs.tell_again().await {
            warn!(%cause, "incomplete transcripts could not be looked up; tried again at the next start");
        }
    });
    if let Some(limit) = sd_notify::watchdog_enabled() {
        let shared = Arc::clone(gateway);
        gateway.tasks.spawn("watchdog", async move { watchdog(shared, limit / 3).await });
    }
}

/// A daemon that has lived for as long as crashes count leaves safe mode by itself.
async fn calm_down(gateway: Arc<Gateway>) {
    let stop = gateway.tasks.stop_token();
    tokio::select! {
        () = stop.cancelled() => return,
        () = tokio::time::sleep(Duration::from_millis(gateway.loaded().config.gateway.limits.safe_mode_window_ms)) => {}
    }
    let runs = gateway.leave_safe_mode();
    gateway
        .audit
        .note(Event::new(Action::Mode).target("safe mode").because("left: this daemon has lived for long enough").with("released", runs));
    info!(runs, "safe mode is over; what was held takes its turn");
    gateway.publish_health();
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
    let (started, started_ms) = (Instant::now(), gateway.now());
    loop {
        // A stop closes the store under whoever still works with it; the next start forgets what is left.
        if let Err(cause) = prune_once(&gateway, steady(gateway.now(), started_ms, started.elapsed())).await
            && !gateway.is_stopping()
        {
            warn!(%cause, "old runs could not be forgotten; tried again in an hour");
        }
        let (media, before) = (gateway.media.clone(), gateway.now().saturating_sub(RETENTION_MS));
        match tokio::task::spawn_blocking(move || media.prune(before)).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(files)) => info!(files, "forgot attachments past retention"),
            Ok(Err(cause)) => warn!(%cause, "old attachments could not be forgotten; tried again in an hour"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNE) => {}
        }
    }
}

async fn prune_once(gateway: &Gateway, now_ms: u64) -> Result<(), StoreError> {
    loop {
        let pruned = gateway.store.prune(now_ms).await?;
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
