//! The configured agents.

pub mod list;
