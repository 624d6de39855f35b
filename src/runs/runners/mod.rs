//! The runners, one per file and one line each in [`RUNNERS`].

pub mod agent;
mod ending;
pub mod program;
pub mod shell;

use super::runner::Runner;
use crate::programs::spec::Kind;

/// One kind of runner.
pub struct Entry {
    /// The name in the configuration and in a run's spec.
    pub name: &'static str,
    /// Whether it can be told something while it works.
    pub takes_input: bool,
    /// Whether the message itself is a command, which the exec policy decides about before the run starts. Other runners ask it for each command that they want to start.
    pub message_is_command: bool,
    /// Makes one.
    pub build: fn() -> Box<dyn Runner>,
}

/// Every runner, in the order in which they are listed to people.
pub static RUNNERS: &[Entry] = &[
    Entry { name: "shell", takes_input: false, message_is_command: true, build: || Box::new(shell::Shell) },
    Entry { name: "agent", takes_input: true, message_is_command: false, build: || Box::new(agent::Agent) },
    Entry { name: "codex", takes_input: true, message_is_command: false, build: || Box::new(program::Program(Kind::Codex)) },
    Entry { name: "claude", takes_input: true, message_is_command: false, build: || Box::new(program::Program(Kind::Claude)) },
    Entry { name: "pi", takes_input: true, message_is_command: false, build: || Box::new(program::Program(Kind::Pi)) },
    Entry { name: "acp", takes_input: false, message_is_command: false, build: || Box::new(program::Program(Kind::Acp)) },
];

/// The runner of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    RUNNERS.iter().find(|entry| entry.name == name)
}

/// Whether a model speaks in runs of this runner.
#[must_use]
pub fn uses_model(name: &str) -> bool {
    find(name).is_some_and(|entry| !entry.message_is_command)
}

/// Whether this version has the runner of this name.
#[must_use]
pub fn is_available(name: &str) -> bool {
    find(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for entry in RUNNERS {
            assert_eq!(RUNNERS.iter().filter(|other| other.name == entry.name).count(), 1);
            assert!(find(entry.name).is_some());
        }
        assert!(find("none").is_none());
    }
}
