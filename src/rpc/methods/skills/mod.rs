//! Skills of agents. There are none yet.

pub mod status;
