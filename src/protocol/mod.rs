//! What crosses the wire: frames, ids, codes and payload types. Depends on nothing else of ours and does no I/O.

pub mod approval;
pub mod codes;
pub mod connect;
pub mod error;
pub mod escape;
pub mod event;
pub mod frame;
pub mod ids;
pub mod isolation;
pub mod ready;
pub mod run;
pub mod run_meta;
pub mod scope;
pub mod session;
pub mod strict;
pub mod system;
pub mod usage;
