//! What is wrong with a configuration, said so that a person can mend it: place, key, reason, and what would be right.
//!
//! No text here ever carries a value of the file. A reason names keys, types and allowed words only, so that a secret in the wrong place cannot reach a terminal or a log.

use std::fmt;
use std::path::PathBuf;

use super::key_path::KeyPath;
use super::locate::{Spot, Target};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file; the spot is absent when the whole file is meant.
    File {
        /// Which one.
        file: PathBuf,
        /// Where in it.
        spot: Option<Spot>,
    },
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
    /// A variable of the environment.
    Env(&'static str),
    /// A credential of the service supervisor, by its name.
    Credential(String),
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, spot: Some(spot) } => write!(f, "{}:{spot}", file.display()),
            Self::File { file, spot: None } => write!(f, "{}", file.display()),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands, once known.
    pub origin: Option<Origin>,
    /// The key; the root for the file as a whole.
    pub path: KeyPath,
    /// Whether the key or its value is at fault.
    pub target: Target,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Problem {
    /// A fault of the value at `path`.
    #[must_use]
    pub fn value(path: KeyPath, reason: impl Into<String>) -> Self {
        Self { origin: None, path, target: Target::Value, reason: reason.into() }
    }

    /// A fault of the key at `path`.
    #[must_use]
    pub fn key(path: KeyPath, reason: impl Into<String>) -> Self {
        Self { origin: None, path, target: Target::Key, reason: reason.into() }
    }

    /// A fault of a file as a whole, or of one spot in it that belongs to no key.
    #[must_use]
    pub fn file(file: PathBuf, spot: Option<Spot>, reason: impl Into<String>) -> Self {
        Self { origin: Some(Origin::File { file, spot }), path: KeyPath::default(), target: Target::Value, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin
            && *origin != Origin::Default
        {
            write!(f, "{origin}: ")?;
        }
        if self.path.0.is_empty() && matches!(self.origin, Some(Origin::File { .. })) {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// How many problems are shown; a file with more is not mended line by line.
pub const MAX_SHOWN: usize = 20;

/// Why there is no configuration. Every variant ends the program with 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file was named, but is not there.
    #[error("config file {0} does not exist")]
    Absent(PathBuf),
    /// Something is wrong; at least one problem.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
    /// The state directory cannot be found.
    #[error("cannot tell the home directory: set HOME or SKYKOI_STATE_DIR")]
    NoHome,
}

impl ConfigError {
    /// The exit code: bad configuration, which a service manager must not retry.
    pub const EXIT_CODE: u8 = 78;

    /// One problem as an error.
    #[must_use]
    pub fn one(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }

    /// All problems, none for an absent file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::Absent(_) | Self::NoHome => &[],
        }
    }
}

/// The problems, one per line, at most [`MAX_SHOWN`] and then how many more.
#[must_use]
pub fn lines(problems: &[Problem]) -> String {
    let mut text = problems.iter().take(MAX_SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("\n");
    if problems.len() > MAX_SHOWN {
        text.push_str(&format!("\nand {} more", problems.len() - MAX_SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_line_column_key_and_reason() {
        let mut problem = Problem::value(KeyPath::parse("gateway.port"), "must be a whole number");
        assert_eq!(problem.to_string(), "gateway.port: must be a whole number");
        problem.origin = Some(Origin::File { file: "a.json5".into(), spot: Some(Spot { line: 4, column: 11 }) });
        assert_eq!(problem.to_string(), "a.json5:4:11: gateway.port: must be a whole number");
        problem.origin = Some(Origin::Env("SKYKOI_GATEWAY_PORT"));
        assert_eq!(problem.to_string(), "env SKYKOI_GATEWAY_PORT: gateway.port: must be a whole number");
    }

    #[test]
    fn more_than_twenty_problems_are_counted() {
        let many = vec![Problem::value(KeyPath::parse("a"), "x"); 23];
        let text = ConfigError::Invalid(many).to_string();
        assert_eq!(text.lines().count(), 21);
        assert!(text.ends_with("\nand 3 more"));
    }
}
