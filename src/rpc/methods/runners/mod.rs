//! Methods about runners.

pub mod list;
