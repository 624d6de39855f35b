//! SkyKoi Gateway: the control plane of a cloud VM. One daemon speaks typed JSON frames over WebSocket and a local socket; each run of work lives in a process of its own and outlives the daemon.
//!
//! The floors, from the ground up; a module imports only from floors below it (`tests/it/tidy.rs` checks).

// F0: what crosses the wire; wall time; the only spawn.
pub mod clock;
pub mod failpoint;
pub mod protocol;
pub mod tasks;

// F1: strict configuration.
pub mod config;
// F3: one run's event file; starting and ending processes.
pub mod exec;
pub mod journal;

// F4: a run, from the launch of its shim to the work inside it.
pub mod runs;

// F10: the host process of a run.
pub mod shim;
// F3: who a peer is and what it may try.
pub mod auth;

// F9: sockets.
pub mod transport;
// F2: durable records.
pub mod store;
