//! Runs: accepted, queued, hosted by a shim each, followed by the daemon, ended exactly once.

pub mod control;
pub mod follow;
pub mod launcher;
pub mod live;
pub mod log;
pub mod orphans;
pub mod recover;
pub mod runner;
pub mod runners;
pub mod schedule;
pub mod spec;
pub mod supervisor;
