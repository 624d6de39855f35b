//! The configured models.

pub mod list;
