//! External agent programs: what they say is made into one neutral stream of events, whatever language each of them speaks.
//!
//! ```text
//! program ── lines ──> peer ──> talk (codex, claude, pi, acp) ──> tale ──> events
//!                       ^          │ asks                           blocks, tools, messages put in order
//!                       └── drive ─┴─> approver
//! ```
//! A [`talk::Talk`] is a state machine without I/O: lines in, lines and events out. [`drive`] is the only part that waits.
//! No word of a program is taken for the truth twice: exit codes are hints, and the end of a turn is what the structured fields say.

pub mod acp;
pub mod approver;
pub mod claude;
pub mod codex;
pub mod drive;
pub mod event;
pub mod known;
pub mod lines;
pub mod mcp;
pub mod output;
pub mod peer;
pub mod pi;
pub mod probe;
pub mod ready;
pub mod rpc;
pub mod spec;
pub mod tale;
pub mod talk;
mod thinking;

#[cfg(test)]
mod replay;
