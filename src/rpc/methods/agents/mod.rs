//! The configured agents.

pub mod change;
pub mod create;
pub mod delete;
pub mod files;
pub mod list;
pub mod update;
