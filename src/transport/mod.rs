//! Sockets: how bytes of a peer become messages and messages become bytes, who gets that far, and the life of a connection from its challenge to its close.

pub mod admission;
mod audited;
pub mod chats;
pub mod connection;
pub mod control;
pub mod credentials;
mod devices;
pub mod feeds;
pub mod guard;
pub mod handshake;
pub mod http;
pub mod intake;
pub mod listener;
pub mod liveness;
pub mod local;
pub mod ndjson;
pub mod outbox;
pub mod rest;
mod spending;
pub mod tails;
pub mod tls;
pub mod utf8;
pub mod watches;
pub mod wire;
pub mod ws;
