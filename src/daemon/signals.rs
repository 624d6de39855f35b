//! What a daemon waits for while it serves: the signals of the system, a failed store, a restart that its configuration needs.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::boots::Boots;
use super::{Ended, StartError, exit, notify};
use crate::gateway::Gateway;

/// The signals of the daemon.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())?, hup: signal(SignalKind::hangup())? })
    }

    /// Waits for the reason to end. One that was asked for is noted in `boots` as orderly, before anybody can ask a second time.
    ///
    /// # Errors
    /// The store or the audit log has failed.
    pub async fn wait(mut self, gateway: &Arc<Gateway>, boots: &Boots) -> Result<Ended, StartError> {
        let ended = loop {
            tokio::select! {
                _ = self.term.recv() => { info!("asked to stop"); break Ended::Stopped }
                _ = self.int.recv() => { info!("interrupted"); break Ended::Stopped }
                _ = self.hup.recv() => reload(gateway),
                () = gateway.configuration.restart_begun() => { info!("restarting to take the configuration"); break Ended::Restart }
                cause = gateway.store.poisoned() => {
                    error!(%cause, "the store has failed; stopping, so that a new start can read what is really on disk");
                    return Err(StartError::new(exit::BUG, format!("the store has failed: {cause}")));
                }
                cause = gateway.audit.broken() => {
                    error!(%cause, "the audit log has failed; stopping, so that a new start can read what is really on disk");
                    return Err(StartError::new(exit::BUG, format!("the audit log has failed: {cause}")));
                }
            }
        };
        boots.end();
        // A second request for the end skips what is left of the orderly one.
        gateway.tasks.spawn("stop.hurry", async move {
            tokio::select! {
                _ = self.term.recv() => {}
                _ = self.int.recv() => {}
            }
            warn!("asked to stop again; ending at once");
            std::process::exit(i32::from(exit::OK));
        });
        Ok(ended)
    }
}

/// SIGHUP: the configuration and the certificate are read again, by the same way as when the file changes.
fn reload(gateway: &Arc<Gateway>) {
    let shared = Arc::clone(gateway);
    gateway.tasks.spawn("reload", async move {
        notify(&[sd_notify::NotifyState::Reloading]);
        if let Some(outcome) = shared.configuration.reload(0, None).await
            && outcome.issues.is_empty()
            && outcome.changed.is_empty()
        {
            info!("the configuration is valid and has not changed");
        }
        notify(&[sd_notify::NotifyState::Ready]);
    });
}
