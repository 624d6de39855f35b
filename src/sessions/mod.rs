//! Sessions: how they are named.

pub mod key;
