//! What a connection listens to after hello, merged into one stream of wake-ups.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::{BroadcastStream, IntervalStream, WatchStream};
use tokio_stream::{Stream, StreamExt, StreamMap};

use crate::auth::credential::{EXPIRED, Lease};
use crate::clock::now_ms;
use crate::events::hub::{Hub, Signal};
use crate::protocol::event::tick::Tick;
use crate::protocol::frame::{self, StateVersion};
use crate::protocol::scope::{Scope, ScopeSet};
use crate::runs::log::RunLog;
use crate::runs::supervisor::Supervisor;

/// Something for the writer to do.
pub enum Wake {
    /// A state has a newer value.
    State(Bytes),
    /// A signal; none = signals were missed.
    Signal(Option<Signal>),
    /// The credential no longer holds, for this reason.
    Ended(&'static str),
    /// Some run's log has grown.
    Bell,
    /// Time for a sign of life.
    Tick(Vec<u8>),
    /// Time to look whether the peer lives.
    Ping,
}

/// The sources of one connection. Subscribed before hello's snapshot is taken, so that nothing falls in between.
pub struct Feeds {
    hub: Arc<Hub>,
    supervisor: Supervisor,
    runs: broadcast::Receiver<Arc<RunLog>>,
    /// Runs that were at work then, and how far each was.
    at_work: Vec<(u64, Arc<RunLog>)>,
    reads: bool,
    only: Option<Arc<str>>,
    wakes: Option<Wakes>,
    agent_prefix: Vec<u8>,
    chat_prefix: Vec<u8>,
}

type Wakes = StreamMap<u8, Pin<Box<dyn Stream<Item = Wake> + Send>>>;

/// What a connection may hear.
#[derive(Clone, Debug)]
pub struct Audience {
    /// What it may hear.
    pub scopes: ScopeSet,
    /// Whose runs it hears of; none = everybody's.
    pub only: Option<Arc<str>>,
    /// Whether it hears of its own runs and of nothing else of the gateway.
    pub confined: bool,
    /// Its hold on its credential.
    pub lease: Lease,
}

impl Audience {
    fn wake(&self, signal: Option<Signal>) -> Option<Wake> {
        match &signal {
            Some(Signal::Event(Some(scope), _)) if self.confined || !self.scopes.allows(*scope) => None,
            Some(Signal::Revoked) => self.lease.ended(Instant::now()).map(Wake::Ended),
            _ => Some(Wake::Signal(signal)),
        }
    }
}

/// The two clocks of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// Between ticks.
    pub tick: Duration,
    /// Between looks at the peer's life; none for transports without pings.
    pub ping: Option<Duration>,
}

impl Feeds {
    /// Subscribes to everything that a connection of this audience gets.
    #[must_use]
    pub fn subscribe(hub: Arc<Hub>, supervisor: Supervisor, audience: Audience, intervals: Intervals) -> Self {
        let (reads, only) = (audience.scopes.allows(Scope::Read), audience.only.clone());
        let mut wakes = Wakes::new();
        if reads && !audience.confined {
            let presence = WatchStream::from_changes(hub.presence.watch()).map(|published| Wake::State(published.body));
            let health = WatchStream::from_changes(hub.health.watch()).map(|published| Wake::State(published.body));
            wakes.insert(0, Box::pin(presence));
            wakes.insert(1, Box::pin(health));
        }
        if reads {
            wakes.insert(2, Box::pin(WatchStream::from_changes(hub.bell()).map(|_| Wake::Bell)));
        }
        if let Some(until) = audience.lease.until() {
            let ended = IntervalStream::new(tokio::time::interval_at(until, intervals.tick)).map(|_| Wake::Ended(EXPIRED));
            wakes.insert(6, Box::pin(ended));
        }
        wakes.insert(3, Box::pin(BroadcastStream::new(hub.signals()).filter_map(move |signal| audience.wake(signal.ok()))));
        let tick = every(intervals.tick).map(|_| Wake::Tick(frame::event_start("tick", &Tick { ts: now_ms() })));
        wakes.insert(4, Box::pin(tick));
        if let Some(ping) = intervals.ping {
            wakes.insert(5, Box::pin(every(ping).map(|_| Wake::Ping)));
        }
        let runs = supervisor.feed();
        let mut feeds = Self {
            hub,
            supervisor,
            runs,
            at_work: Vec::new(),
            reads,
            only,
            wakes: Some(wakes),
            agent_prefix: frame::event_prefix("agent"),
            chat_prefix: frame::event_prefix("chat"),
        };
        feeds.at_work = feeds.live_logs().into_iter().map(|log| (log.head(), log)).collect();
        feeds
    }

    /// Runs that were at work when the connection subscribed, and how far each was; given out once.
    pub fn at_work(&mut self) -> Vec<(u64, Arc<RunLog>)> {
        std::mem::take(&mut self.at_work)
    }

    /// The wake-ups; given out once.
    pub fn wakes(&mut self) -> Wakes {
        self.wakes.take().unwrap_or_default()
    }

    /// Runs that have started since the last call; after an overflow, all that have not ended.
    pub fn new_runs(&mut self) -> Vec<Arc<RunLog>> {
        let mut runs = Vec::new();
        if !self.reads {
            return runs;
        }
        loop {
            match self.runs.try_recv() {
                Ok(run) => runs.push(run),
                Err(broadcast::error::TryRecvError::Lagged(_)) => runs.extend(self.supervisor.live_logs()),
                Err(_) => break,
            }
        }
        runs.retain(|run| self.hears_of(run));
        runs
    }

    fn hears_of(&self, run: &RunLog) -> bool {
        self.only.as_ref().is_none_or(|principal| *principal == run.principal)
    }

    /// Runs that have not ended, of those that the connection hears of.
    fn live_logs(&self) -> Vec<Arc<RunLog>> {
        let mut runs = if self.reads { self.supervisor.live_logs() } else { Vec::new() };
        runs.retain(|run| self.hears_of(run));
        runs
    }

    /// Whether the connection is given the events of runs.
    #[must_use]
    pub fn reads_logs(&self) -> bool {
        self.reads
    }

    /// What stands before the payload in an `agent` event.
    #[must_use]
    pub fn agent_prefix(&self) -> &[u8] {
        &self.agent_prefix
    }

    /// What stands before the payload in a `chat` event.
    #[must_use]
    pub fn chat_prefix(&self) -> &[u8] {
        &self.chat_prefix
    }

    /// Versions of the states now.
    #[must_use]
    pub fn versions(&self) -> StateVersion {
        self.hub.versions()
    }
}

fn every(period: Duration) -> IntervalStream {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    IntervalStream::new(interval)
}
