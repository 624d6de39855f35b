//! Sockets: how bytes of a peer become messages and messages become bytes, and which peers get that far. What the messages mean is decided above this floor's wire.

pub mod admission;
pub mod control;
pub mod guard;
pub mod http;
pub mod intake;
pub mod listener;
pub mod local;
pub mod ndjson;
pub mod rest;
pub mod tls;
pub mod utf8;
pub mod wire;
pub mod ws;
