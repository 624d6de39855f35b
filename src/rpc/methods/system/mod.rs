//! The gateway itself.

pub mod health;
pub mod presence;
mod sessions_status;
pub mod status;
