//! Events: what the server sends unasked. One payload per file, one line per event in [`EVENTS`].

pub mod agent;


/// How an event is delivered to a connection that cannot keep up (ARCHITECTURE.md, delivery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Only the newest value matters.
    State,
    /// Every item matters; each reader has a cursor.
    Log,
    /// A fact that must arrive; who lags is disconnected.
    Signal,
}
