//! The commands of the program, each a function of its arguments that writes to an output and returns an exit code.

pub mod config;
