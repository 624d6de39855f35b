//! Runs: look at them, follow them, end them.

pub mod abort;
pub mod get;
pub mod list;
pub mod subscribe;
pub mod unsubscribe;
