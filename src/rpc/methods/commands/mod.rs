//! Slash commands.

pub mod list;
