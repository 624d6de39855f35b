//! SkyKoi Gateway: the control plane of a cloud VM. One daemon speaks typed JSON frames over WebSocket and a local socket; each run of work lives in a process of its own and outlives the daemon.
//!
//! The floors, from the ground up; a module imports only from floors below it (`tests/it/tidy.rs` checks).

// F0: what crosses the wire; wall time; the only spawn; points at which tests end the process; locks that tests wait for; memory given back.
pub mod clock;
pub mod failpoint;
#[cfg(test)]
mod free;
pub mod memory;
pub mod protocol;
pub mod tasks;

// F1: strict configuration.
pub mod config;

// F2: durable records; delivery inside the process; the daemon's log.
pub mod events;
pub mod logging;
pub mod store;

// F3: the built-in agent; who is asked about a command and what they decide; what was done, in a chain of records; who a peer is and what it may try; one run's event file; starting and ending processes; the file of a conversation; what the machine is doing; language models; agent programs that are not ours; an agent's directory.
pub mod agent;
pub mod approvals;
pub mod audit;
pub mod auth;
pub mod exec;
pub mod journal;
pub mod machine;
pub mod model;
pub mod programs;
pub mod transcript;
pub mod workspace;

// F4: a run, from its acceptance to its outcome.
pub mod runs;

// F5: names, rules and rows of sessions; turns that begin and end.
pub mod sessions;

// F6: what a chat understands of a message before it is a turn.
pub mod chat;

// F7: the composition root.
pub mod gateway;

// F8: typed calls.
pub mod rpc;

// F9: sockets.
pub mod transport;

// F10: the daemon, the commands, the host process of a run.
pub mod cli;
pub mod daemon;
pub mod shim;
