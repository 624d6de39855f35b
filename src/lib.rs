//! SkyKoi Gateway: the control plane of a cloud VM. One daemon speaks typed JSON frames over WebSocket and a local socket; each run of work lives in a process of its own and outlives the daemon.
//!
//! The floors, from the ground up; a module imports only from floors below it (`tests/it/tidy.rs` checks).

// F0: what crosses the wire; wall time; the only spawn.
pub mod clock;
pub mod protocol;
pub mod tasks;

// F1: strict configuration.
pub mod config;

// F10: commands.
pub mod cli;
