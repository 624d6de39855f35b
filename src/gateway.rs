//! The composition root: the parts of a running gateway and their handles. Methods reach everything through it; nobody below it sees the whole configuration.

pub mod abilities;
pub mod access;
pub mod agents;
pub mod announce;
pub mod certificate;
pub mod chronicle;
pub mod commands;
pub mod configuration;
pub mod devices;
pub mod endpoints;
pub mod errands;
pub mod health;
pub mod identity;
pub mod importing;
pub mod lockouts;
pub mod looks;
pub mod minds;
pub mod portal;
pub mod presence;
pub mod presence_line;
pub mod programs;
pub mod queueing;
pub mod quiet;
pub mod recollect;
pub mod restart_note;
pub mod retire;
pub mod room;
pub mod runners;
pub mod sessions;
pub mod shortening;
pub mod system_events;
pub mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::approvals::Approvals;
use crate::audit::Audit;
use crate::auth::probe::Probe;
use crate::auth::token::TokenDigest;
use crate::chat::media::Media;
use crate::clock::now_ms;
use crate::config::layers::Sources;
use crate::config::load::Loaded;
use crate::events::hub::Hub;
use crate::logging::Log;
use crate::protocol::ids::AgentId;
use crate::runs::programs::Versions;
use crate::runs::supervisor::Supervisor;
use crate::sessions::{Sessions, Settings as SessionSettings};
use crate::store::{Health as StoreHealth, Store};
use crate::tasks::Tasks;
use crate::transcript::Transcripts;

use abilities::Tried;
use access::Access;
use agents::Agents;
use certificate::Presented;
use chronicle::Scribe;
use commands::Served;
use configuration::{Ask, Configuration};
use devices::Devices;
use health::Health;
use portal::Turnstile;
use presence::Presence;
use system_events::SystemEvents;
use usage::Usage;

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A running gateway.
pub struct Gateway {
    /// The configuration in effect.
    pub configuration: Configuration,
    /// The daemon's log.
    pub log: Log,
    /// Durable records.
    pub store: Store,
    /// Who did what.
    pub audit: Audit,
    /// Approvals of commands.
    pub approvals: Approvals,
    /// The runs.
    pub runs: Supervisor,
    /// The sessions.
    pub sessions: Sessions,
    /// The conversations of the sessions.
    pub transcripts: Transcripts,
    /// Who writes them.
    pub scribe: Scribe,
    /// Files that came with messages.
    pub media: Media,
    /// Requests that were served without a run.
    pub commands: Served,
    /// What connections listen to.
    pub hub: Arc<Hub>,
    /// Who is connected.
    pub presence: Presence,
    /// How it is.
    pub health: Health,
    /// Who may come in.
    pub access: Access,
    /// Devices with keys of their own.
    pub devices: Devices,
    /// What `doctor` finds out about the proxy in front.
    pub probe: Probe,
    /// What TLS shows of us.
    pub certificate: Presented,
    /// Where requests of one user of a portal wait for each other.
    pub turnstile: Turnstile,
    /// Notes that wait for a session's next turn.
    pub system_events: SystemEvents,
    /// What runs have used on days that are over.
    pub usage: Usage,
    /// What agent programs said their versions were.
    pub versions: Versions,
    /// What this machine can give to isolated runs.
    pub tried: Tried,
    /// Tasks that belong to no connection.
    pub tasks: Tasks,
    /// Changes with every start.
    pub boot_id: String,
    /// The same for as long as the gateway keeps its key: the beginning of the key's digest, in lower-case hex.
    pub id: String,
    /// Name of this machine.
    pub host: String,
    started: Instant,
    stopping: CancellationToken,
    safe_mode: AtomicBool,
}

/// The parts that exist before the gateway does.
pub struct Parts {
    /// Flags and environment.
    pub sources: Sources,
    /// The configuration.
    pub loaded: Arc<Loaded>,
    /// The daemon's log.
    pub log: Log,
    /// The store.
    pub store: Store,
    /// The audit log.
    pub audit: Audit,
    /// Approvals of commands.
    pub approvals: Approvals,
    /// Changes with every start.
    pub boot_id: String,
    /// The devices.
    pub devices: Devices,
    /// The supervisor.
    pub runs: Supervisor,
    /// The sessions.
    pub sessions: Sessions,
    /// What was said in them.
    pub transcripts: Transcripts,
    /// Who writes it down.
    pub scribe: Scribe,
    /// The hub.
    pub hub: Arc<Hub>,
    /// The task group of the daemon.
    pub tasks: Tasks,
    /// Whether it starts in safe mode.
    pub safe_mode: bool,
}

impl Gateway {
    /// Puts the parts together. Beside the gateway come the requests to reload its configuration.
    #[must_use]
    pub fn new(parts: Parts) -> (Arc<Self>, mpsc::Receiver<Ask>) {
        let Parts {
            sources,
            loaded,
            log,
            store,
            audit,
            approvals,
            boot_id,
            devices,
            runs,
            sessions,
            transcripts,
            scribe,
            hub,
            tasks,
            safe_mode,
        } = parts;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let access = Access::new(&loaded.config);
        let media = Media::new(&loaded.paths.state_dir);
        let (configuration, asks) = Configuration::new(sources, loaded);
        let gateway = Arc::new(Self {
            presence: Presence::new(&host, Arc::clone(&hub)),
            health: Health::default(),
            commands: Served::default(),
            access,
            certificate: Presented::default(),
            turnstile: Turnstile::default(),
            configuration,
            probe: Probe::default(),
            system_events: scribe.system_events.clone(),
            usage: Usage::default(),
            versions: Versions::default(),
            tried: Tried::default(),
            boot_id,
            id: TokenDigest::of(&audit.public_key()).bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
            host,
            started: Instant::now(),
            media,
            stopping: CancellationToken::new(),
            safe_mode: AtomicBool::new(safe_mode),
            log,
            store,
            audit,
            approvals,
            devices,
            runs,
            sessions,
            transcripts,
            scribe,
            hub,
            tasks,
        });
        gateway.runs.have_errands_done(Arc::new(errands::Errander::of(&gateway)));
        (gateway, asks)
    }

    /// The configuration in effect. Who needs several keys of one moment keeps it.
    #[must_use]
    pub fn loaded(&self) -> Arc<Loaded> {
        self.configuration.loaded()
    }

    /// The agents in effect.
    #[must_use]
    pub fn agents(&self) -> Arc<Agents> {
        self.configuration.agents()
    }

    /// Places for calls, over all connections.
    #[must_use]
    pub fn calls(&self) -> room::Room {
        self.configuration.calls()
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
        self.stopping.cancel();
    }

    /// Whether the daemon is stopping.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits until the daemon is stopping.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether earlier daemons crashed so often that this one holds the runs it found queued.
    #[must_use]
    pub fn in_safe_mode(&self) -> bool {
        self.safe_mode.load(Ordering::Acquire)
    }

    /// Ends safe mode: the held runs take their turns. Returns how many there were.
    pub fn leave_safe_mode(&self) -> usize {
        self.safe_mode.store(false, Ordering::Release);
        self.runs.release_held()
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
        if self.runs.policy_fault().is_some() {
            failing.push("exec-policy");
        }
        if !self.audit.is_writing() {
            failing.push("audit");
        }
        failing
    }
}

/// What the sessions need to know of the configuration.
#[must_use]
pub fn session_settings(loaded: &Loaded) -> SessionSettings {
    SessionSettings {
        state_dir: loaded.paths.state_dir.clone(),
        default_agent: AgentId(loaded.config.default_agent_id()),
        rules: loaded.config.session.clone(),
    }
}
