//! Nodes: other devices that run commands. There are none.

pub mod list;
