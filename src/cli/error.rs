//! What a command can fail with, and the exit code that says so to scripts. The codes are part of the interface.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// All went well.
pub const OK: u8 = 0;
/// The command line or a request is wrong.
pub const USAGE: u8 = 64;
/// What was checked is not as it should be: the audit log has a bad record.
pub const DATA: u8 = 65;
/// No gateway answers.
pub const UNREACHABLE: u8 = 69;
/// A defect of ours, or a run of which nobody knows how it ended.
pub const SOFTWARE: u8 = 70;
/// A file cannot be made.
pub const CANNOT_CREATE: u8 = 73;
/// Not now; the same again may work later.
pub const TRY_LATER: u8 = 75;
/// Not allowed.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
/// The run ran into its time limit, as `timeout` of coreutils says it.
pub const TIMED_OUT: u8 = 124;
/// Stopped by Ctrl-C.
pub const INTERRUPTED: u8 = 130;
/// Whoever read our output left.
pub const BROKEN_PIPE: u8 = 141;

/// The `error` object of a `res` frame, as a client reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Stable code.
    pub code: String,
    /// One line for a person.
    pub message: String,
    /// Particulars.
    #[serde(default)]
    pub details: Option<Value>,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
}

impl Refusal {
    /// The stable code inside `details`, empty if there is none.
    #[must_use]
    pub fn detail_code(&self) -> &str {
        self.details.as_ref().and_then(|details| details.get("code")).and_then(Value::as_str).unwrap_or_default()
    }

    fn exit_code(&self) -> u8 {
        let detail = self.detail_code();
        match self.code.as_str() {
            "FORBIDDEN" | "NOT_PAIRED" | "NOT_LINKED" | "EXEC_DENIED" => NO_PERMISSION,
            "AGENT_TIMEOUT" => TIMED_OUT,
            "UNAVAILABLE" if self.retryable => TRY_LATER,
            "UNAVAILABLE" => UNREACHABLE,
            "INVALID_REQUEST" if detail == "AUTH_RATE_LIMITED" => TRY_LATER,
            "INVALID_REQUEST" if detail.starts_with("AUTH_") || detail == "MISSING_SCOPE" => NO_PERMISSION,
            "INVALID_REQUEST" if self.message.starts_with("unauthorized") || self.message.starts_with("missing scope") => NO_PERMISSION,
            "INVALID_REQUEST" | "IDEMPOTENCY_CONFLICT" => USAGE,
            _ => SOFTWARE,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub enum CliError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// No gateway answers.
    #[error("{0}")]
    Unreachable(String),
    /// Not allowed to reach the gateway.
    #[error("{0}")]
    Denied(String),
    /// The gateway said no.
    #[error("the gateway refused: {} [{}]", .0.message, .0.code)]
    Refused(Box<Refusal>),
    /// What came is not what this version understands.
    #[error("the gateway sent what this version does not understand: {0}")]
    Protocol(String),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// A file cannot be made.
    #[error("cannot make {}: {error}", .path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something of this process or its system does not work.
    #[error("{0}")]
    Local(String),
    /// Ctrl-C, for the second time.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Unreachable(_) => UNREACHABLE,
            Self::Denied(_) => NO_PERMISSION,
            Self::Refused(refusal) => refusal.exit_code(),
            Self::Protocol(_) | Self::Local(_) => SOFTWARE,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => BROKEN_PIPE,
            Self::Output(_) | Self::Create { .. } => CANNOT_CREATE,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code_of(error: Value) -> u8 {
        CliError::Refused(Box::new(serde_json::from_value(error).unwrap())).exit_code()
    }

    #[test]
    fn refusals_map_to_the_documented_exit_codes() {
        let rows = [
            (json!({"code": "INVALID_REQUEST", "message": "invalid agent params: must have required property 'message'"}), USAGE),
            (json!({"code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch"}), NO_PERMISSION),
            (json!({"code": "INVALID_REQUEST", "message": "no", "details": {"code": "AUTH_TOKEN_MISMATCH"}}), NO_PERMISSION),
            (json!({"code": "INVALID_REQUEST", "message": "no", "details": {"code": "AUTH_RATE_LIMITED"}}), TRY_LATER),
            (json!({"code": "FORBIDDEN", "message": "missing scope: operator.write"}), NO_PERMISSION),
            (json!({"code": "UNAVAILABLE", "message": "stopping", "retryable": true}), TRY_LATER),
            (json!({"code": "UNAVAILABLE", "message": "no runner"}), UNREACHABLE),
            (json!({"code": "AGENT_TIMEOUT", "message": "timed out"}), TIMED_OUT),
            (json!({"code": "SOMETHING_NEW", "message": "?"}), SOFTWARE),
        ];
        for (error, expected) in rows {
            assert_eq!(code_of(error.clone()), expected, "{error}");
        }
    }

    #[test]
    fn a_reader_that_left_is_not_a_failed_disk() {
        assert_eq!(CliError::Output(io::ErrorKind::BrokenPipe.into()).exit_code(), BROKEN_PIPE);
        assert_eq!(CliError::Output(io::ErrorKind::StorageFull.into()).exit_code(), CANNOT_CREATE);
    }
}
