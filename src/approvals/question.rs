//! What is asked about a command, why it may not be asked, and the wait for the answer.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use super::MAX_PENDING;
use super::life::Refused;
use crate::audit::AuditError;
use crate::clock::now_ms;
use crate::protocol::approval::{ApprovalRequest, ApprovalState, AwaitedApproval, Decision, Party};
use crate::protocol::ids::RunId;
use crate::store::approvals::{ApprovalBody, ApprovalRecord};
use crate::store::error::StoreError;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its id, if who asks has one; 128 random bits otherwise.
    pub id: Option<String>,
    /// SHA-256 of `subject`.
    pub digest: [u8; 32],
    /// Everything that the approval is bound to.
    pub subject: serde_json::Value,
    /// What a person is shown.
    pub prompt: String,
    /// The same in the form that clients know.
    pub request: ApprovalRequest,
    /// What may be decided.
    pub allowed: Vec<Decision>,
    /// The run, by its names on disk and on the wire.
    pub run: Option<(String, RunId)>,
    /// Who asks.
    pub requester: Party,
    /// Others whose messages are part of it; they do not approve it either.
    pub others: Vec<String>,
    /// How long it waits; as configured if none.
    pub timeout: Option<Duration>,
}

/// Why nobody was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody who may decide is connected.
    #[error("nobody is connected who may decide about it")]
    NoApprover,
    /// As many wait as may.
    #[error("{MAX_PENDING} approvals wait already")]
    TooMany,
    /// There is or was an approval of this id.
    #[error("approval id already pending")]
    IdTaken,
    /// No randomness from the system.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// It could not be made durable, so nobody was told.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a decision or a use does not count.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such approval.
    #[error("unknown or expired approval id")]
    Unknown,
    /// Its life does not permit it.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The audit log does not take it.
    #[error(transparent)]
    NotRecorded(#[from] AuditError),
    /// It could not be made durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An approval that somebody waits for.
#[derive(Debug)]
pub struct Pending {
    /// Its id and its time.
    pub awaited: AwaitedApproval,
    /// When it was asked for, ms since the epoch.
    pub created_at: u64,
    pub(super) record: watch::Receiver<ApprovalRecord>,
}

impl Pending {
    /// Waits until it is decided or over. Safe to cancel and to call again.
    pub async fn settled(&mut self) -> ApprovalRecord {
        let settled = self.record.wait_for(|record| record.state != ApprovalState::Pending).await.map(|record| record.clone());
        // The sender only goes with the approvals themselves, which is the end of the daemon.
        match settled {
            Ok(record) => record,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Question {
    /// The record that it begins with.
    pub(super) fn into_record(self, needed: u32, timeout: Duration) -> Result<ApprovalRecord, AskError> {
        let created_at = now_ms();
        let Self { id, digest, subject, prompt, request, allowed, run, requester, others, .. } = self;
        let id = match id {
            Some(id) => id,
            None => fresh_id().ok_or(AskError::NoRandomness)?,
        };
        let (file_id, run_id) = run.map_or((None, None), |(file_id, run_id)| (Some(file_id), Some(run_id)));
        Ok(ApprovalRecord {
            id,
            state: ApprovalState::Pending,
            revision: 1,
            file_id,
            digest,
            created_at,
            expires_at: created_at.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            body: ApprovalBody {
                subject,
                prompt,
                request,
                allowed,
                run_id,
                requester,
                others,
                needed: needed.max(1),
                votes: Vec::new(),
                resolved_at: None,
                resolved_by: None,
                reason: None,
            },
        })
    }
}

/// 128 random bits, hexadecimal.
fn fresh_id() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
