//! The built-in agent: a model that is asked, uses tools, and is asked again, until it is done.
//!
//! It runs inside a run's shim. It opens no socket of ours, knows no daemon and starts no command by itself: what it needs from outside is the spec that it was given and a [`host::Host`].

pub mod host;
pub mod spec;
