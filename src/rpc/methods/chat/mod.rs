//! Chat methods.

pub mod abort;
pub mod history;
pub mod inject;
pub mod message_get;
pub mod place;
