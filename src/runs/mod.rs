//! Runs: accepted, queued, hosted by a shim each, followed by the daemon, ended exactly once.
//!
//! The daemon's side is `supervisor`, `follow`, `end` and `recover`; `runner`, `runners`, `sink` and `stop` work inside the shim; `control` is what the two say to each other.

pub mod control;
mod end;
pub mod follow;
pub mod handle;
mod hosted;
pub mod launcher;
pub mod live;
pub mod log;
pub mod orphans;
pub mod recover;
pub mod runner;
pub mod runners;
pub mod schedule;
pub mod sink;
pub mod spec;
pub mod stop;
pub mod supervisor;
