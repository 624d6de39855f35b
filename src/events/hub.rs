//! One handle to everything that connections listen to.

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::state::State;
use crate::protocol::frame::{self, StateVersion};

/// How many signals a connection may lag behind before it is disconnected.
const SIGNALS: usize = 64;

/// Something that every connection must get.
#[derive(Clone, Debug)]
pub enum Signal {
    /// An `event` frame up to and including its payload.
    Event(Bytes),
    /// The same, for connections with the read scope.
    ForReaders(Bytes),
    /// The end of the connection: close code and reason.
    Close(u16, &'static str),
    /// The same, for connections that came in with the gateway's secret.
    CloseSecret(u16, &'static str),
}

/// The states, the signals, and the bell of the logs.
#[derive(Debug)]
pub struct Hub {
    /// Who is connected.
    pub presence: State,
    /// How the gateway is.
    pub health: State,
    signals: broadcast::Sender<Signal>,
    bell: watch::Sender<u64>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { presence: State::default(), health: State::default(), signals: broadcast::Sender::new(SIGNALS), bell: watch::Sender::new(0) }
    }
}

impl Hub {
    /// Versions of the states, as they stand in hello and beside state events.
    #[must_use]
    pub fn versions(&self) -> StateVersion {
        StateVersion { presence: self.presence.version(), health: self.health.version() }
    }

    /// Sends a signal to every connection.
    pub fn signal(&self, name: &str, payload: &impl Serialize) {
        // An error only means that nobody is connected.
        let _ = self.signals.send(Signal::Event(Bytes::from(frame::event_start(name, payload))));
    }

    /// Sends a signal to every connection with the read scope.
    pub fn signal_readers(&self, name: &str, payload: &impl Serialize) {
        let _ = self.signals.send(Signal::ForReaders(Bytes::from(frame::event_start(name, payload))));
    }

    /// Closes every connection that came in with the gateway's secret: it no longer holds.
    pub fn close_secret(&self, code: u16, reason: &'static str) {
        let _ = self.signals.send(Signal::CloseSecret(code, reason));
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
