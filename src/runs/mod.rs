//! One run: what the daemon tells its shim, how the shim is started, and the runners that do the work inside it.

pub mod control;
pub mod launcher;
pub mod orphans;
pub mod runner;
pub mod runners;
pub mod sink;
pub mod stop;
