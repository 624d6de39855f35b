//! Work by time. There is none yet.

pub mod list;
pub mod status;
