//! Runs: accepted, queued, hosted by a shim each, followed by the daemon, ended exactly once.
//!
//! The daemon's side is `supervisor`, `turns` and `steer` over `queue`, `policy`, `gate`, `follow`, `end` and `recover`, and `answer`, `chat`, `spoken` and `chronicle` for what was said, `brief`, `ask` and `native` for runs with a model; `runner`, `runners`, `sink`, `asks`, `inbox` and `stop` work inside the shim; `control` is what the two say to each other.

pub mod answer;
mod ask;
pub mod asks;
mod audited;
pub mod brief;
pub mod chat;
pub mod chronicle;
pub mod control;
mod end;
pub mod errands;
pub mod follow;
mod gate;
pub mod handle;
pub mod hold;
pub mod host;
mod hosted;
pub mod inbox;
pub mod inside;
pub mod launcher;
pub mod live;
pub mod log;
mod native;
mod oneshot;
pub mod orphans;
pub mod policy;
pub mod programs;
pub mod questions;
pub mod queue;
pub mod recover;
mod retell;
pub mod runner;
pub mod runners;
pub mod sink;
pub mod socket;
pub mod spec;
pub mod spoken;
mod steer;
pub mod stop;
pub mod supervisor;
pub mod ticket;
mod turns;
mod usage_line;
