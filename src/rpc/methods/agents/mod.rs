//! The configured agents.

pub mod files;
pub mod list;
