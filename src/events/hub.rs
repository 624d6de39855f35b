//! One handle to everything that connections listen to.

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::state::State;
use crate::protocol::event::EVENTS;
use crate::protocol::event::chat::ChatEvent;
use crate::protocol::frame::{self, StateVersion};
use crate::protocol::ids::SessionKey;
use crate::protocol::scope::Scope;

/// How many signals a connection may lag behind before it is disconnected.
const SIGNALS: usize = 64;
/// How many events of sessions a connection may lag behind before it is told to look again.
const SESSION_EVENTS: usize = 256;

/// Something that every connection must get.
#[derive(Clone, Debug)]
pub enum Signal {
    /// An `event` frame up to and including its payload, for connections with this scope; none = for every connection.
    Event(Option<Scope>, Bytes),
    /// The end of the connection: close code and reason.
    Close(u16, &'static str),
    /// Credentials were taken back: every connection looks whether its own still holds.
    Revoked,
}

/// An event for the connections that watch sessions.
#[derive(Clone, Debug)]
pub struct SessionEvent {
    /// The session whose messages it is about; none = it is about the list of sessions.
    pub messages_of: Option<SessionKey>,
    /// An `event` frame up to and including its payload.
    pub body: Bytes,
}

/// The states, the signals, and the bell of the logs.
#[derive(Debug)]
pub struct Hub {
    /// Who is connected.
    pub presence: State,
    /// How the gateway is.
    pub health: State,
    signals: broadcast::Sender<Signal>,
    sessions: broadcast::Sender<SessionEvent>,
    bell: watch::Sender<u64>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            presence: State::default(),
            health: State::default(),
            signals: broadcast::Sender::new(SIGNALS),
            sessions: broadcast::Sender::new(SESSION_EVENTS),
            bell: watch::Sender::new(0),
        }
    }
}

impl Hub {
    /// Versions of the states, as they stand in hello and beside state events.
    #[must_use]
    pub fn versions(&self) -> StateVersion {
        StateVersion { presence: self.presence.version(), health: self.health.version() }
    }

    /// Sends an event to every connection that has the scope which its row in [`EVENTS`] asks for. One without a row goes to those with admin.
    pub fn signal(&self, name: &str, payload: &impl Serialize) {
        let row = EVENTS.iter().find(|event| event.name == name);
        let scope = row.map_or(Some(Scope::Admin), |event| event.scope);
        // An error only means that nobody is connected.
        let _ = self.signals.send(Signal::Event(scope, Bytes::from(frame::event_start(name, payload))));
    }

    /// Sends a `chat` event that belongs to no run, such as the answer of a command or an injected message, to every connection that may read.
    pub fn tell_chat(&self, event: &ChatEvent) {
        self.signal("chat", event);
    }

    /// Has every connection look whether its credential still holds; one whose does not is closed with 1008.
    pub fn signal_revoked(&self) {
        let _ = self.signals.send(Signal::Revoked);
    }

    /// Closes every connection, behind what is already on its way.
    pub fn close_connections(&self, code: u16, reason: &'static str) {
        let _ = self.signals.send(Signal::Close(code, reason));
    }

    /// Signals from now on.
    #[must_use]
    pub fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// Sends an event to the connections that watch what it is about.
    pub fn session_event(&self, event: SessionEvent) {
        // An error only means that nobody watches.
        let _ = self.sessions.send(event);
    }

    /// Events of sessions from now on.
    #[must_use]
    pub fn session_events(&self) -> broadcast::Receiver<SessionEvent> {
        self.sessions.subscribe()
    }

    /// Whether any connection watches sessions.
    #[must_use]
    pub fn sessions_are_watched(&self) -> bool {
        self.sessions.receiver_count() > 0
    }

    /// Tells every connection that some run's log has grown.
    pub fn ring(&self) {
        self.bell.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    /// Changes whenever a run's log has grown.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}
