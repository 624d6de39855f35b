//! The machine: what the kernel says about processors, memory, network and file systems, and what the processes of runs use.
//!
//! Parsers are pure and read texts; the [`sampler`] reads the files and turns two readings into rates. Nothing here has a clock of its own: who wants to know asks.

pub mod disk;
pub mod facts;
pub mod reading;
pub mod sampler;
pub mod usage;
