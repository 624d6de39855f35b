//! Sessions.

pub mod list;
pub mod usage;
