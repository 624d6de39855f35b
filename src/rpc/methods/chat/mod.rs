//! Chat methods.

pub mod abort;
mod command;
pub mod history;
pub mod inject;
pub mod message_get;
pub mod place;
pub mod send;
