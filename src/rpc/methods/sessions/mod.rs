//! Sessions.

pub mod list;
