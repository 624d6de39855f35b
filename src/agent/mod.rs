//! The built-in agent: a model that is asked, uses tools, and is asked again, until it is done.
//!
//! ```text
//! prompt ──> [compact] ──> ask ──> gather ──> message ──> done · refused · longest answer · failed
//!                ^                               └──> tools ──> results ──┐
//!                └────────────── a budget left? ──────────────────────────┘
//! ```
//! It runs inside a run's shim. It opens no socket of ours, knows no daemon and starts no command by itself: what it needs from outside is the spec that it was given, a model, and a [`host::Host`].

mod budget;
mod calls;
mod commands;
mod compaction;
mod conversation;
mod fetch;
mod gather;
pub mod hands;
pub mod host;
pub mod mcp;
mod prompt;
mod pruning;
pub mod spec;
mod summary;
#[cfg(test)]
mod tests;
mod tools;
mod turn;

pub use turn::run;
