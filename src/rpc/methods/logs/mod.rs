//! The daemon's log.

pub mod tail;
