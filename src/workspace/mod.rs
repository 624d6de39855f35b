//! An agent's directory: its files of instructions, what it says of itself in them, and its picture.
//!
//! Whoever can talk to an agent can have it write there, so nothing in it is trusted: every file is opened beneath the directory, and no link is followed.

pub mod avatar;
pub mod beneath;
pub mod files;
pub mod identity;
pub mod seed;
