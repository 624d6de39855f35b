//! The error of a `res` frame: a stable code, a short text for the caller, and a cause that only the log sees.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Stable error codes. A new one is an API change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The frame, its parameters or the credentials are not acceptable; `details.code` says which.
    InvalidRequest,
    /// A scope is missing (protocol 4; protocol 3 clients get `INVALID_REQUEST`).
    Forbidden,
    /// The device is unknown or its pairing is pending.
    NotPaired,
    /// A channel is not logged in.
    NotLinked,
    /// The run ran into its time limit.
    AgentTimeout,
    /// The exec policy refuses the command.
    ExecDenied,
    /// The idempotency key was used before with other parameters.
    IdempotencyConflict,
    /// Not possible now; `retryable` says whether trying again can help.
    Unavailable,
}

/// The `error` object of a `res` frame.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RpcError {
    /// Stable code.
    pub code: ErrorCode,
    /// One line for a person.
    pub message: Cow<'static, str>,
    /// Machine-readable particulars; `details.code` is stable. Boxed, so that an answer without them stays small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Value>>,
    /// Whether the same request may succeed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// How long to wait before trying again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The payload of a request that was served but did not succeed, such as the final of a run; stands beside `error` in the frame.
    #[serde(skip)]
    pub payload: Option<Box<Value>>,
    /// What really happened; for the log, never sent.
    #[serde(skip)]
    pub cause: Option<String>,
}

impl RpcError {
    /// An error with this code and text.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: None, retryable: None, retry_after_ms: None, payload: None, cause: None }
    }

    /// `INVALID_REQUEST` with this text.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// `UNAVAILABLE` that is worth another try.
    #[must_use]
    pub fn try_again(message: impl Into<Cow<'static, str>>, retry_after_ms: u64) -> Self {
        Self { retryable: Some(true), retry_after_ms: Some(retry_after_ms), ..Self::new(ErrorCode::Unavailable, message) }
    }

    /// `UNAVAILABLE`, with a cause for the log.
    #[must_use]
    pub fn unavailable(message: impl Into<Cow<'static, str>>, cause: impl std::fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..Self::new(ErrorCode::Unavailable, message) }
    }

    /// The same error with `details.code`.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        self.with_detail("code", json!(code))
    }

    /// The same error with one more key in `details`.
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: Value) -> Self {
        let details = self.details.get_or_insert_with(|| Box::new(json!({})));
        if let Some(map) = details.as_object_mut() {
            map.insert(key.to_owned(), value);
        }
        self
    }
}
