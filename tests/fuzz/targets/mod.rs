//! The targets: what is fed, with which words, and how an outcome is told from another.

mod config;
mod device;
pub mod faulty;
mod forwarded;
mod frame;
mod grammar;
mod http;
mod journal;
mod jwt;
mod websocket;

use std::hash::{DefaultHasher, Hash, Hasher as _};

/// Something that reads bytes of strangers.
pub struct Target {
    /// Its name, which is also that of its folder of inputs.
    pub name: &'static str,
    /// Words of its grammar.
    pub words: &'static [&'static str],
    /// Longest input, bytes.
    pub max: usize,
    /// Inputs to begin with beside the files.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Takes one input; gives the same number for inputs that went the same way. It panics on an answer that cannot be right.
    pub run: fn(&[u8]) -> u64,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    frame::TARGET,
    websocket::TARGET,
    http::TARGET,
    config::TARGET,
    forwarded::TARGET,
    journal::TARGET,
    device::TARGET,
    jwt::TARGET,
    grammar::TARGET,
];

/// The number of an outcome.
pub fn outcome(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// A message without the parts that come from the input: what is quoted, and numbers.
pub fn shape(message: &str) -> String {
    let plain = message.split(['\'', '"', '`']).step_by(2).collect::<String>();
    plain.chars().filter(|c| !c.is_ascii_digit()).take(160).collect()
}

/// No inputs but the files.
pub fn none() -> Vec<Vec<u8>> {
    Vec::new()
}
