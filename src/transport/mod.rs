//! Sockets: how bytes of a peer become messages and messages become bytes, and which peers get that far. What the messages mean is decided above this floor's wire.

pub mod admission;
pub mod guard;
pub mod intake;
pub mod ndjson;
pub mod utf8;
pub mod wire;
pub mod ws;
