//! Chat methods.

pub mod abort;
mod command;
pub mod send;
