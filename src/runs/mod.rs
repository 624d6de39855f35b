<<<<<<< HEAD
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
=======
//! One run: what the daemon tells its shim, how the shim is started, and the runners that do the work inside it.

pub mod control;
pub mod launcher;
pub mod orphans;
pub mod runner;
pub mod runners;
pub mod sink;
pub mod stop;
>>>>>>> shim
