//! Health: the summary that the `health` method, hello and the `health` event share.
//!
//! What needs the store is looked up on a timer and kept; the rest is read at once, so that `health` answers in microseconds and never waits for a disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use super::Gateway;
use crate::protocol::event::health::{Empty, HealthSummary, RecentSession, SessionCounts};
use crate::protocol::frame;
use crate::store::error::StoreError;
use crate::store::record::SessionFilter;

/// How often a change of what fails is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How many sessions the summary names.
const RECENT: usize = 5;

/// The part of health that is looked up on a timer.
#[derive(Default)]
pub struct Health {
    sessions: Mutex<SessionCounts>,
    took_ms: Mutex<u64>,
}

impl Health {
    /// Sessions at the last refresh.
    #[must_use]
    pub fn session_count(&self) -> u64 {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

impl Gateway {
    /// Health now, with the session counts of the last refresh.
    #[must_use]
    pub fn health_summary(&self) -> HealthSummary {
        let failing = self.failing();
        let agents = self.agents();
        let now = self.now();
        let mut sessions = self.health.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for recent in &mut sessions.recent {
            recent.age = now.saturating_sub(recent.updated_at);
        }
        HealthSummary {
            ok: failing.is_empty(),
            failing,
            ts: now,
            duration_ms: *self.health.took_ms.lock().unwrap_or_else(PoisonError::into_inner),
            uptime_ms: self.uptime_ms(),
            connections: self.access.connections(),
            runs: self.runs.counts(),
            channels: Empty {},
            channel_order: Vec::new(),
            channel_labels: Empty {},
            heartbeat_seconds: 0,
            default_agent_id: agents.default_id().clone(),
            agents: agents.health(),
            sessions,
            config: self.configuration.health(),
        }
    }

    /// Looks up what needs the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn refresh_health(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        let filter = SessionFilter { limit: RECENT, ..SessionFilter::default() };
        let rows = self.store.sessions(filter).await?;
        let count = self.store.count_sessions(SessionFilter::default()).await?;
        let now = self.now();
        let recent =
            rows.into_iter().map(|row| RecentSession { key: row.key, updated_at: row.updated_at, age: now.saturating_sub(row.updated_at) });
        let counts = SessionCounts { path: self.loaded().paths.db().display().to_string(), count, recent: recent.collect() };
        *self.health.sessions.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        *self.health.took_ms.lock().unwrap_or_else(PoisonError::into_inner) =
            u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Sends health to everybody.
    pub fn publish_health(&self) {
        let body = frame::event_start("health", &self.health_summary());
        self.hub.health.publish(Bytes::from(body));
    }

    /// Refreshes and sends health on its timer, and at once when what fails has changed.
    pub async fn watch_health(&self) {
        let stop = self.tasks.stop_token();
        let mut last_sent = Instant::now();
        let mut last_failing = self.failing();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let failing = self.failing();
            let period = Duration::from_millis(self.loaded().config.gateway.limits.health_interval_ms);
            if failing == last_failing && last_sent.elapsed() < period {
                continue;
            }
            if let Err(cause) = self.refresh_health().await {
                warn!(%cause, "health could not be refreshed");
            }
            self.publish_health();
            (last_sent, last_failing) = (Instant::now(), failing);
        }
    }
}
