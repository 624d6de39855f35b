//! The harness: a real daemon in a directory of its own, and clients that keep a model of what they were told.
//!
//! Tests wait for events, never for time: `Client::until` reads frames until the model satisfies them. The client itself asserts what always holds: connection `seq` without holes, per-run `seq` in order and once.

pub mod approver;
pub mod client;
pub mod device;
pub mod disk;
pub mod gateway;
pub mod model;
pub mod raw;

pub use client::Client;
pub use device::Device;
pub use disk::kill_9;
pub use gateway::Gateway;
