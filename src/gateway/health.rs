//! Health: the summary that the `health` method, hello and the `health` event share.
//!
//! What needs the store or a look at the machine is looked up on a timer while somebody listens, and kept as ready text; the rest is read at once, so that `health` answers in microseconds and never waits for a disk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use super::Gateway;
use crate::audit::Head;
use crate::machine::disk;
use crate::machine::sampler::Sampler;
use crate::protocol::event::health::{AgentHealth, AuditHealth, Empty, HealthSummary, RecentSession, RunCounts, SessionCounts};
use crate::protocol::frame;
use crate::protocol::ids::AgentId;
use crate::protocol::ready::Ready;
use crate::protocol::system::{DiskInfo, SystemInfo};
use crate::store::error::StoreError;
use crate::store::sessions::SessionFilter;

/// How often a change of what fails is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How many sessions the summary names.
const RECENT: usize = 5;
/// How long a file system may take to say how full it is; one that hangs is asked again only when it has answered.
const DISK_PATIENCE: Duration = Duration::from_millis(500);

/// The part of health that is looked up on a timer.
#[derive(Default)]
pub struct Health {
    looked_up: Mutex<LookedUp>,
    sampler: Arc<Sampler>,
    disks: Arc<Disks>,
    told: Mutex<Option<(Moment, Ready<HealthSummary>)>>,
}

/// What changes from one summary to the next. Callers of the same millisecond who would be told the same share one text.
#[derive(PartialEq)]
struct Moment {
    ts: u64,
    connections: usize,
    runs: RunCounts,
    failing: Vec<&'static str>,
    safe_mode: bool,
    /// Whether records are written, and the last of them.
    audit: (bool, Head),
    looked_up: Option<Instant>,
}

#[derive(Clone, Default)]
struct LookedUp {
    sessions: SessionCounts,
    agents: Ready<Vec<AgentHealth>>,
    system: Ready<Option<SystemInfo>>,
    took_ms: u64,
    at: Option<Instant>,
}

/// How full the file systems are, as of the last answer.
#[derive(Default)]
struct Disks {
    info: Mutex<DiskInfo>,
    asked: AtomicBool,
}

impl Health {
    /// Sessions at the last refresh.
    #[must_use]
    pub fn session_count(&self) -> u64 {
        self.lock().sessions.count
    }

    /// The agents with their sessions at the last refresh.
    #[must_use]
    pub fn agents(&self) -> Ready<Vec<AgentHealth>> {
        self.lock().agents.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LookedUp> {
        self.looked_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateway {
    /// Health now, with what the last refresh found.
    #[must_use]
    pub fn health_summary(&self) -> Ready<HealthSummary> {
        let moment = Moment {
            ts: self.now(),
            connections: self.access.connections(),
            runs: self.runs.counts(),
            failing: self.failing(),
            safe_mode: self.in_safe_mode(),
            audit: self.audit.head(),
            looked_up: self.health.lock().at,
        };
        let mut told = self.health.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = told.as_ref().filter(|(when, _)| *when == moment) {
            return text.clone();
        }
        let text = Ready::new(&self.summary_at(&moment));
        *told = Some((moment, text.clone()));
        text
    }

    fn summary_at(&self, moment: &Moment) -> HealthSummary {
        let now = moment.ts;
        let LookedUp { mut sessions, agents, system, took_ms, .. } = self.health.lock().clone();
        for recent in &mut sessions.recent {
            recent.age = now.saturating_sub(recent.updated_at);
        }
        HealthSummary {
            ok: moment.failing.is_empty(),
            failing: moment.failing.clone(),
            safe_mode: moment.safe_mode,
            ts: now,
            duration_ms: took_ms,
            uptime_ms: self.uptime_ms(),
            connections: moment.connections,
            runs: moment.runs,
            channels: Empty {},
            channel_order: Vec::new(),
            channel_labels: Empty {},
            heartbeat_seconds: 0,
            default_agent_id: self.agents().default_id().clone(),
            agents,
            sessions,
            system,
            config: self.configuration.health(),
            audit: self.audit_told(&moment.audit),
        }
    }

    /// The head of the audit log.
    #[must_use]
    pub fn audit_health(&self) -> AuditHealth {
        self.audit_told(&self.audit.head())
    }

    fn audit_told(&self, (ok, head): &(bool, Head)) -> AuditHealth {
        AuditHealth { ok: *ok, n: head.n, hash: head.hash.to_string(), key: self.audit.public_key() }
    }

    /// Looks up what needs the store or a look at the machine.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn refresh_health(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        let system = self.system().await;
        let sessions = self.session_counts(None).await?;
        let mut of_agents = HashMap::new();
        let agents = self.agents();
        for agent in agents.all() {
            of_agents.insert(agent.id.clone(), self.session_counts(Some(agent.id.clone())).await?);
        }
        *self.health.lock() = LookedUp {
            sessions,
            agents: Ready::new(&agents.health(of_agents)),
            system: Ready::new(&system.map(|system| SystemInfo::clone(&system))),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            at: Some(Instant::now()),
        };
        Ok(())
    }

    /// Whether nobody was there to refresh health for, so that what is known is older than its timer allows.
    #[must_use]
    pub fn health_is_old(&self) -> bool {
        let period = Duration::from_millis(self.loaded().config.gateway.limits.health_interval_ms);
        self.health.lock().at.is_none_or(|at| at.elapsed() > period + LOOK * 5)
    }

    async fn session_counts(&self, agent: Option<AgentId>) -> Result<SessionCounts, StoreError> {
        let filter = SessionFilter { limit: RECENT, agents: agent.into_iter().collect(), ..SessionFilter::default() };
        let page = self.store.sessions(filter).await?;
        let now = self.now();
        let recent = page.rows.into_iter().map(|row| RecentSession {
            key: row.session.key,
            updated_at: row.session.entry.updated_at,
            age: now.saturating_sub(row.session.entry.updated_at),
        });
        Ok(SessionCounts { path: self.loaded().paths.db().display().to_string(), count: page.total as u64, recent: recent.collect() })
    }

    /// The machine now, at most a second ago. None if it could not be looked at.
    pub async fn system(&self) -> Option<Arc<SystemInfo>> {
        let disk = self.disks().await;
        let (sampler, host, now) = (Arc::clone(&self.health.sampler), self.host.clone(), self.now());
        let hosted = self.runs.hosted();
        tokio::task::spawn_blocking(move || sampler.sample(now, &host, &hosted, disk)).await.ok()
    }

    /// How full the file systems are: now if they answer soon, else as they were.
    async fn disks(&self) -> DiskInfo {
        let disks = Arc::clone(&self.health.disks);
        if !disks.asked.swap(true, Ordering::AcqRel) {
            let state = self.loaded().paths.state_dir.clone();
            let agents = self.agents();
            let workspace: Option<PathBuf> = agents.get(agents.default_id().as_str()).map(|agent| agent.workspace.clone());
            let asking = {
                let disks = Arc::clone(&disks);
                tokio::task::spawn_blocking(move || {
                    let info = DiskInfo { state: disk::space(&state), workspace: workspace.and_then(|path| disk::space(&path)) };
                    *disks.info.lock().unwrap_or_else(PoisonError::into_inner) = info;
                    disks.asked.store(false, Ordering::Release);
                })
            };
            let _ = tokio::time::timeout(DISK_PATIENCE, asking).await;
        }
        disks.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends health to everybody.
    pub fn publish_health(&self) {
        let body = frame::event_start("health", &self.health_summary());
        self.hub.health.publish(Bytes::from(body));
    }

    /// Refreshes and sends health on its timer, and at once when what fails has changed. While nobody is connected, only the latter is looked for.
    pub async fn watch_health(&self) {
        let stop = self.tasks.stop_token();
        let mut last_sent = Instant::now();
        let mut last_failing = self.failing();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            self.runs.look_at_policy();
            let failing = self.failing();
            let period = Duration::from_millis(self.loaded().config.gateway.limits.health_interval_ms);
            let due = last_sent.elapsed() >= period && self.access.connections() > 0;
            if failing == last_failing && !due {
                continue;
            }
            if let Err(cause) = self.refresh_health().await
                && !self.is_stopping()
            {
                warn!(%cause, "health could not be refreshed");
            }
            self.publish_health();
            (last_sent, last_failing) = (Instant::now(), failing);
        }
    }
}
