//! The composition root: the parts of a running gateway and their handles. Methods reach everything through it; nobody below it sees the whole configuration.

pub mod access;
pub mod agents;
pub mod health;
pub mod identity;
pub mod presence;
pub mod presence_line;
pub mod sessions;
pub mod system_events;
pub mod turns;
pub mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::config::load::Loaded;
use crate::events::hub::Hub;
use crate::logging::Log;
use crate::protocol::ids::AgentId;
use crate::runs::supervisor::Supervisor;
use crate::sessions::{Sessions, Settings as SessionSettings};
use crate::store::{Health as StoreHealth, Store};
use crate::tasks::Tasks;
use crate::transcript::Transcripts;

use access::Access;
use agents::Agents;
use health::Health;
use presence::Presence;
use system_events::SystemEvents;
use usage::Usage;

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A running gateway.
pub struct Gateway {
    /// The configuration it was started with.
    pub loaded: Arc<Loaded>,
    /// The daemon's log.
    pub log: Log,
    /// Durable records.
    pub store: Store,
    /// The runs.
    pub runs: Supervisor,
    /// The sessions.
    pub sessions: Sessions,
    /// The conversations of the sessions.
    pub transcripts: Transcripts,
    /// What connections listen to.
    pub hub: Arc<Hub>,
    /// Who is connected.
    pub presence: Presence,
    /// How it is.
    pub health: Health,
    /// Who may come in.
    pub access: Access,
    /// The configured agents.
    pub agents: Agents,
    /// Notes that wait for a session's next turn.
    pub system_events: SystemEvents,
    /// What runs have used on days that are over.
    pub usage: Usage,
    /// Places for calls, over all connections.
    pub calls: Arc<Semaphore>,
    /// Tasks that belong to no connection.
    pub tasks: Tasks,
    /// Changes with every start.
    pub boot_id: String,
    /// Name of this machine.
    pub host: String,
    started: Instant,
    stopping: AtomicBool,
}

/// The parts that exist before the gateway does.
pub struct Parts {
    /// The configuration.
    pub loaded: Arc<Loaded>,
    /// The daemon's log.
    pub log: Log,
    /// The store.
    pub store: Store,
    /// The supervisor.
    pub runs: Supervisor,
    /// The hub.
    pub hub: Arc<Hub>,
    /// The task group of the daemon.
    pub tasks: Tasks,
}

impl Gateway {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { loaded, log, store, runs, hub, tasks } = parts;
        let config = &loaded.config;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let limits = &config.gateway.limits;
        Arc::new(Self {
            presence: Presence::new(&host, Arc::clone(&hub)),
            health: Health::default(),
            sessions: Sessions::new(session_settings(&loaded), store.clone()),
            access: Access::new(config),
            agents: Agents::new(config),
            system_events: SystemEvents::default(),
            usage: Usage::default(),
            calls: Arc::new(Semaphore::new(limits.max_calls)),
            boot_id: uuid::Uuid::new_v4().to_string(),
            host,
            started: Instant::now(),
            transcripts: Transcripts::new(&loaded.paths.state_dir),
            stopping: AtomicBool::new(false),
            loaded,
            log,
            store,
            runs,
            hub,
            tasks,
        })
    }

    /// How long the daemon has been up, in ms.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Wall-clock time in ms since the epoch.
    #[must_use]
    pub fn now(&self) -> u64 {
        now_ms()
    }

    /// Refuses new work from here on.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the daemon is stopping.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// What keeps the gateway from being ready; empty = ready.
    #[must_use]
    pub fn failing(&self) -> Vec<&'static str> {
        let mut failing = Vec::new();
        if self.is_stopping() {
            failing.push("stopping");
        }
        match self.store.health() {
            StoreHealth::Writing => {}
            StoreHealth::Full => failing.push("disk"),
            StoreHealth::Poisoned(_) => failing.push("store"),
        }
        failing
    }
}

/// What the sessions need to know of the configuration.
fn session_settings(loaded: &Loaded) -> SessionSettings {
    SessionSettings {
        state_dir: loaded.paths.state_dir.clone(),
        default_agent: AgentId(loaded.config.default_agent_id()),
        rules: loaded.config.session.clone(),
    }
}
