//! The only place where errors of the parts become errors of the wire.

use serde_json::json;

use crate::approvals::file::FileError;
use crate::approvals::life::Refused;
use crate::approvals::{AskError, Failure};
use crate::auth::pairing::Denied;
use crate::config::change::ChangeError;
use crate::gateway::configuration::issue;
use crate::gateway::devices::DeviceError;
use crate::protocol::error::{ErrorCode, RpcError};
use crate::protocol::ids::RunId;
use crate::protocol::run::DeniedCode;
use crate::runs::queue::Full;
use crate::store::RETENTION_MS;
use crate::store::error::StoreError;
use crate::transcript::error::TranscriptError;

/// How long a client should wait before it tries a full store again, in ms.
const RETRY_AFTER_MS: u64 = 1000;

/// The detail code of a command that was refused.
#[must_use]
pub fn denied_code(code: DeniedCode) -> &'static str {
    match code {
        DeniedCode::ExecDenied => "EXEC_DENIED",
        DeniedCode::ApprovalNoApprover => "APPROVAL_NO_APPROVER",
        DeniedCode::ApprovalStale => "APPROVAL_STALE",
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        let text =
            if error.is_fatal() { "the store has failed; the gateway is restarting" } else { "the store cannot take the request now" };
        let mut answer = Self::unavailable(text, &error).with_code("STORE_UNAVAILABLE");
        answer.retryable = Some(true);
        answer.retry_after_ms = Some(RETRY_AFTER_MS);
        answer
    }
}

impl From<TranscriptError> for RpcError {
    fn from(error: TranscriptError) -> Self {
        let text = match &error {
            TranscriptError::Outside(_) => "the transcript of this session does not stand beneath the state directory",
            TranscriptError::NotPlain(_) => "the transcript of this session is a link or not a plain file",
            full if full.is_full() => "the disk is full",
            _ => "the transcript of this session cannot be used; the gateway's log says why",
        };
        Self::unavailable(text, &error).with_code("TRANSCRIPT_UNAVAILABLE")
    }
}

impl From<ChangeError> for RpcError {
    fn from(error: ChangeError) -> Self {
        let issues: Vec<_> = error.problems().iter().map(issue).collect();
        let code = match &error {
            ChangeError::BaseRequired => "CONFIG_BASE_HASH_REQUIRED",
            ChangeError::BaseUnavailable(_) => "CONFIG_BASE_HASH_UNAVAILABLE",
            ChangeError::Conflict => "CONFIG_CONFLICT",
            ChangeError::Invalid(_) | ChangeError::FixFirst(_) | ChangeError::Syntax(_) => "CONFIG_INVALID",
            ChangeError::Unparsed(_) => "CONFIG_UNPARSED",
            ChangeError::Shrinks { .. } => "CONFIG_SHRINKS",
            ChangeError::Marker(_) => "CONFIG_MARKER",
            ChangeError::Edit(_) => "CONFIG_PATCH_INVALID",
            ChangeError::Busy => return Self::try_again(error.to_string(), RETRY_AFTER_MS).with_code("CONFIG_NOT_WRITTEN"),
            ChangeError::Io { .. } => return Self::unavailable(error.to_string(), &error).with_code("CONFIG_NOT_WRITTEN"),
        };
        let answer = Self::invalid(error.to_string()).with_code(code);
        if issues.is_empty() { answer } else { answer.with_detail("issues", serde_json::to_value(issues).unwrap_or_default()) }
    }
}

impl From<Denied> for RpcError {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::NoRequest => "PAIRING_NOT_FOUND",
            Denied::NoDevice => "DEVICE_NOT_FOUND",
            Denied::Expired => "PAIRING_EXPIRED",
            Denied::Rejected { .. } => "PAIRING_REJECTED",
            Denied::Decided(_) => "PAIRING_DECIDED",
            Denied::Own => "PAIRING_OWN_REQUEST",
            Denied::Above => "PAIRING_ABOVE_SCOPES",
            Denied::Beyond => "PAIRING_BEYOND_REQUEST",
            Denied::Full { retry_after_ms } => return Self::try_again(denied.to_string(), retry_after_ms).with_code("PAIRING_LIMIT"),
            Denied::TooMany(_) => "DEVICE_LIMIT",
        };
        Self::invalid(denied.to_string()).with_code(code)
    }
}

impl From<DeviceError> for RpcError {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Denied(denied) => denied.into(),
            DeviceError::Store(error) => error.into(),
            DeviceError::Audit(error) => {
                let mut answer =
                    Self::unavailable("the audit log cannot record it, so nothing was changed", &error).with_code("AUDIT_UNAVAILABLE");
                answer.retryable = Some(error.is_retryable());
                answer
            }
            DeviceError::Random(cause) => Self::unavailable("no token can be made", cause).with_code("INTERNAL"),
        }
    }
}

impl From<FileError> for RpcError {
    fn from(error: FileError) -> Self {
        let text = error.to_string();
        match &error {
            FileError::BaseRequired => Self::invalid(text).with_code("APPROVALS_BASE_HASH_REQUIRED"),
            FileError::Conflict => Self::invalid(text).with_code("APPROVALS_CONFLICT"),
            FileError::Invalid(_) => Self::invalid(text).with_code("APPROVALS_INVALID"),
            FileError::Busy => Self::try_again(text, RETRY_AFTER_MS).with_code("APPROVALS_UNAVAILABLE"),
            FileError::Syntax { .. } | FileError::Io { .. } => Self::unavailable(text, &error).with_code("APPROVALS_UNAVAILABLE"),
        }
    }
}

impl From<AskError> for RpcError {
    fn from(error: AskError) -> Self {
        let text = error.to_string();
        match error {
            AskError::NoApprover => Self::new(ErrorCode::ExecDenied, text).with_code("APPROVAL_NO_APPROVER"),
            AskError::TooMany => Self::try_again(text, RETRY_AFTER_MS).with_code("TOO_MANY_APPROVALS"),
            AskError::IdTaken => Self::invalid(text).with_code("APPROVAL_ID_TAKEN"),
            AskError::NoRandomness => Self::unavailable("nobody could be asked", text).with_code("APPROVALS_UNAVAILABLE"),
            AskError::Store(cause) => cause.into(),
        }
    }
}

impl From<Failure> for RpcError {
    fn from(failure: Failure) -> Self {
        approval_refused(failure, 3)
    }
}

/// Why a decision does not count, in the words of a protocol version.
#[must_use]
pub fn approval_refused(failure: Failure, protocol: u32) -> RpcError {
    let text = failure.to_string();
    let refused = match failure {
        Failure::Store(cause) => return cause.into(),
        Failure::NotRecorded(_) => {
            return RpcError::unavailable("the decision could not be recorded", text).with_code("APPROVALS_UNAVAILABLE");
        }
        Failure::Unknown => {
            return RpcError::invalid(text).with_code("APPROVAL_NOT_FOUND").with_detail("reason", json!("APPROVAL_NOT_FOUND"));
        }
        Failure::Refused(refused) => refused,
    };
    let invalid = |code: &str| RpcError::invalid(format!("the approval cannot be decided: {text}")).with_code(code);
    match refused {
        Refused::Resolved(_) | Refused::NotAllowed => invalid("APPROVAL_RESOLVED"),
        Refused::Used => invalid("USED"),
        Refused::Stale => invalid("APPROVAL_STALE"),
        Refused::Expired => invalid("EXPIRED"),
        Refused::Cancelled(reason) => invalid("CANCELLED").with_detail("reason", json!(reason)),
        Refused::Mismatch => mismatch(),
        Refused::NotOffered(_) => invalid("DECISION_UNAVAILABLE"),
        Refused::Own => {
            let code = if protocol >= 4 { ErrorCode::Forbidden } else { ErrorCode::InvalidRequest };
            RpcError::new(code, text).with_code("FORBIDDEN")
        }
    }
}

/// The approval is not the one that was meant.
#[must_use]
pub fn mismatch() -> RpcError {
    RpcError::invalid("this approval is for something else than what was shown; look at it again").with_code("MISMATCH")
}

/// No run has this id, or it ended so long ago that it was forgotten: both look the same, and for both a client can only drop what it has.
#[must_use]
pub fn no_such_run(run_id: &RunId) -> RpcError {
    RpcError::invalid(format!("no run found: {}", crate::protocol::frame::short(run_id.as_str())))
        .with_code("RUN_NOT_FOUND")
        .with_detail("retentionMs", json!(RETENTION_MS))
        .with_detail("recommendedNextStep", json!("forget_run"))
}

/// Too many runs wait; nothing was accepted.
#[must_use]
pub fn queue_full(full: Full) -> RpcError {
    let text = format!("{} messages wait already; try again when some of them are answered", full.cap);
    RpcError::try_again(text, RETRY_AFTER_MS).with_code("QUEUE_FULL")
}
