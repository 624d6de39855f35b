//! `agent` and what belongs to it.

pub mod answers;
pub mod files;
pub mod identity_get;
pub mod run;
pub mod target;
pub mod tools;
pub mod variables;
pub mod wait;
