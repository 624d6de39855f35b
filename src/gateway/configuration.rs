//! The configuration in effect: one immutable snapshot that every part reads, replaced as a whole and only by a right one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

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
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was done.
    pub applied: Applied,
    /// The keys that changed.
    pub changed: Vec<String>,
    /// Keys that wait for a restart.
    pub restart_needed: Vec<String>,
    /// The restart that follows. Its delay begins when this is dropped: by who asked, once the answer is on its way, else at once. So it comes whatever becomes of who asked.
    pub restart: Option<DropGuard>,
    /// A restart follows, and the note for it was left.
    pub noted: bool,
    /// Why everything stays as it was; empty when the file is right.
    pub issues: Vec<ConfigIssue>,
}

/// A request to look at the file now.
pub struct Ask {
    /// How many ms a restart waits once [`Outcome::restart`] is dropped.
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
    writers: Arc<Writers>,
    restart: CancellationToken,
}

/// Methods that write the file.
#[derive(Default)]
struct Writers {
    at_work: Mutex<AtWork>,
    /// They are done, and a look was put off.
    done: Notify,
}

#[derive(Default)]
struct AtWork {
    count: usize,
    look_put_off: bool,
}

impl Writers {
    fn at_work(&self) -> MutexGuard<'_, AtWork> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>) -> Writing {
        self.at_work().count += 1;
        Writing(Arc::clone(self))
    }

    fn put_off(&self) -> bool {
        let mut at_work = self.at_work();
        let busy = at_work.count > 0;
        at_work.look_put_off |= busy;
        busy
    }
}

/// Somebody writes the file. Until this is dropped a look that nobody asked for would take the change from under them: they would be told that nothing changed, or a restart would come before their answer.
#[must_use]
pub struct Writing(Arc<Writers>);

impl Drop for Writing {
    fn drop(&mut self) {
        let mut at_work = self.0.at_work();
        at_work.count = at_work.count.saturating_sub(1);
        if at_work.count == 0 && std::mem::take(&mut at_work.look_put_off) {
            self.0.done.notify_one();
        }
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
        (Self { sources, current, standing: Mutex::new(standing), asks, writers: Arc::default(), restart: CancellationToken::new() }, asked)
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

    /// Keeps looks that nobody asks for away while the file is written, and until its writer has been answered.
    pub fn writing(&self) -> Writing {
        self.writers.begin()
    }

    /// Whether somebody writes the file, so that a look that nobody asked for is put off until [`Self::written`].
    #[must_use]
    pub fn puts_look_off(&self) -> bool {
        self.writers.put_off()
    }

    /// Waits until whoever wrote the file is done with it and a look was put off meanwhile.
    pub async fn written(&self) {
        self.writers.done.notified().await;
    }

    /// Has the file looked at now and taken; `note` is left for a restart that follows. None: the gateway is stopping.
    ///
    /// Who is to be answered before that restart keeps [`Outcome::restart`] until then.
    pub async fn reload(&self, restart_after_ms: u64, note: Option<RestartNote>) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.asks.send(Ask { restart_after_ms, note, reply }).await.ok()?;
        outcome.await.ok()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn rings(writers: &Writers) -> bool {
        let mut done = std::pin::pin!(writers.done.notified());
        matches!(done.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()))
    }

    #[test]
    fn a_look_that_was_put_off_comes_when_the_last_writer_is_done_and_only_then() {
        let writers = Arc::new(Writers::default());
        assert!(!writers.put_off(), "nobody writes");
        drop(writers.begin());
        assert!(!rings(&writers), "no look was put off");
        let (one, other) = (writers.begin(), writers.begin());
        assert!(writers.put_off());
        drop(one);
        assert!(!rings(&writers) && writers.put_off(), "the other one writes still");
        drop(other);
        assert!(rings(&writers));
        assert!(!rings(&writers) && !writers.put_off(), "once");
    }
}
