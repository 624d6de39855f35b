//! Chat methods.

pub mod abort;
