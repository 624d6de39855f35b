//! The gateway itself.

pub mod event;
pub mod health;
pub mod heartbeats;
pub mod presence;
mod sessions_status;
pub mod status;
pub mod wake;
