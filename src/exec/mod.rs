//! Starting commands, draining their output, and making sure that nothing of them is left.
//!
//! This runs inside a shim, the process that hosts one run. The shim is a subreaper, so every descendant that loses its parent becomes a child of the shim and is found again.

pub mod bubble;
pub mod cgroup;
pub mod company;
pub mod confine;
pub mod drain;
pub mod env;
pub mod execution;
pub mod fence;
pub mod filter;
pub mod isolate;
pub mod output;
pub mod planned;
pub mod policy;
pub mod probe;
pub mod proc;
pub mod process;
pub mod program;
pub mod sweep;
pub mod terminal;
pub mod usage;
pub mod utf8;
