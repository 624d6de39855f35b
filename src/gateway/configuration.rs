//! The configuration in effect: one immutable snapshot that every part reads, replaced as a whole and only by a right one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::agents::Agents;
use super::restart_note::RestartNote;
use super::room::Room;
use crate::config::layers::Sources;
use crate::config::load::Loaded;
use crate::config::problem::{Origin, Problem};
use crate::protocol::event::config::{Applied, ConfigIssue};
use crate::protocol::event::health::ConfigHealth;

/// How many requests to look at the file may wait; more would look at the same file.
const ASKS: usize = 8;

/// What is in effect, with what was made of it.
struct Current {
    loaded: Arc<Loaded>,
    agents: Arc<Agents>,
    calls: Room,
}

/// What became of one look at the file.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was done.
    pub applied: Applied,
    /// The keys that changed.
    pub changed: Vec<String>,
    /// Keys that wait for a restart.
    pub restart_needed: Vec<String>,
    /// A restart follows, and the note for it was left.
    pub noted: bool,
    /// Why everything stays as it was; empty when the file is right.
    pub issues: Vec<ConfigIssue>,
}

/// A request to look at the file now.
pub struct Ask {
    /// Whether a restart may follow, and after how many ms.
    pub restart_after_ms: u64,
    /// What the start after that restart is to tell.
    pub note: Option<RestartNote>,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Outcome>,
}

/// How the file stands to what is in effect.
#[derive(Debug)]
struct Standing {
    issues: Vec<ConfigIssue>,
    restart_needed: Vec<String>,
    watcher: &'static str,
}

/// The configuration of a running gateway.
pub struct Configuration {
    sources: Sources,
    current: watch::Sender<Current>,
    standing: Mutex<Standing>,
    asks: mpsc::Sender<Ask>,
    /// Methods that write the file and then have it taken.
    writers: AtomicUsize,
    written: Notify,
    restart: CancellationToken,
}

/// Somebody writes the file and then has it taken. Until this is dropped a look that nobody asked for would take the change from under them, and they would be told that nothing changed.
#[must_use]
pub struct Writing<'c>(&'c Configuration);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::AcqRel);
        self.0.written.notify_one();
    }
}

impl Configuration {
    /// The configuration that the gateway starts with, and the requests that its reloader serves.
    #[must_use]
    pub fn new(sources: Sources, loaded: Arc<Loaded>) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(ASKS);
        let calls = Room::new(loaded.config.gateway.limits.max_calls);
        let agents = Arc::new(Agents::new(&loaded.config, &loaded.paths.home));
        let standing = Standing { issues: Vec::new(), restart_needed: Vec::new(), watcher: "inotify" };
        let current = watch::Sender::new(Current { loaded, agents, calls });
        (
            Self {
                sources,
                current,
                standing: Mutex::new(standing),
                asks,
                writers: AtomicUsize::new(0),
                written: Notify::new(),
                restart: CancellationToken::new(),
            },
            asked,
        )
    }

    /// Flags and environment that the gateway was started with.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What is in effect.
    #[must_use]
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.borrow().loaded)
    }

    /// The agents in effect.
    #[must_use]
    pub fn agents(&self) -> Arc<Agents> {
        Arc::clone(&self.current.borrow().agents)
    }

    /// Places for calls, over all connections. After a change of their number, calls at work still hold places of the old ones.
    #[must_use]
    pub fn calls(&self) -> Room {
        self.current.borrow().calls.clone()
    }

    /// Puts another configuration into effect for whoever reads from now on.
    pub fn replace(&self, loaded: Arc<Loaded>) {
        let agents = Arc::new(Agents::new(&loaded.config, &loaded.paths.home));
        let places = loaded.config.gateway.limits.max_calls;
        self.current.send_modify(|current| {
            if current.loaded.config.gateway.limits.max_calls != places {
                current.calls = Room::new(places);
            }
            current.agents = agents;
            current.loaded = loaded;
        });
    }

    /// Notes what is wrong with the file, and what waits for a restart.
    pub fn note(&self, issues: Vec<ConfigIssue>, restart_needed: Vec<String>) {
        let mut standing = self.standing();
        (standing.issues, standing.restart_needed) = (issues, restart_needed);
    }

    /// What is wrong with the file on disk; empty when it is right.
    #[must_use]
    pub fn issues(&self) -> Vec<ConfigIssue> {
        self.standing().issues.clone()
    }

    /// Has the daemon start itself anew, in order and with its runs going on.
    pub fn begin_restart(&self) {
        self.restart.cancel();
    }

    /// Waits for [`Self::begin_restart`].
    pub async fn restart_begun(&self) {
        self.restart.cancelled().await;
    }

    /// Notes how changes are noticed.
    pub fn note_watcher(&self, watcher: &'static str) {
        self.standing().watcher = watcher;
    }

    /// As health shows it.
    #[must_use]
    pub fn health(&self) -> ConfigHealth {
        let hash = self.current.borrow().loaded.hash.clone();
        let standing = self.standing();
        ConfigHealth {
            valid: standing.issues.is_empty(),
            hash,
            issues: standing.issues.clone(),
            restart_needed: standing.restart_needed.clone(),
            watcher: standing.watcher,
        }
    }

    /// Keeps looks that nobody asks for away while the file is written and taken.
    pub fn writing(&self) -> Writing<'_> {
        self.writers.fetch_add(1, Ordering::AcqRel);
        Writing(self)
    }

    /// Whether somebody writes the file and will have it taken.
    #[must_use]
    pub fn is_being_written(&self) -> bool {
        self.writers.load(Ordering::Acquire) > 0
    }

    /// Waits until somebody who wrote the file is done with it; what changed meanwhile is to be looked at.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    /// Has the file looked at now and taken; `note` is left for a restart that follows. None: the gateway is stopping.
    pub async fn reload(&self, restart_after_ms: u64, note: Option<RestartNote>) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.asks.send(Ask { restart_after_ms, note, reply }).await.ok()?;
        outcome.await.ok()
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A problem as clients see it.
#[must_use]
pub fn issue(problem: &Problem) -> ConfigIssue {
    let path = if problem.path.0.is_empty() { String::new() } else { problem.path.to_string() };
    let (file, spot) = match &problem.origin {
        Some(Origin::File { file, spot }) => (Some(file.display().to_string()), *spot),
        Some(Origin::Default) | None => (None, None),
        Some(outside) => (Some(outside.to_string()), None),
    };
    ConfigIssue { path, message: problem.reason.clone(), file, line: spot.map(|spot| spot.line), column: spot.map(|spot| spot.column) }
}
