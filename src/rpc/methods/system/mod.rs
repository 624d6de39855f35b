//! The gateway itself.

pub mod health;
pub mod presence;
pub mod status;
