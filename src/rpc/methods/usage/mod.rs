//! What was used.

pub mod cost;
pub mod status;
