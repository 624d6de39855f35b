//! What an approval leaves elsewhere: records in the audit log, and the entry of one that was given for always.

use serde_json::json;

use super::Approvals;
use super::file::{self, Entry, FileError};
use crate::audit::{Action, AuditError, Decision as Verdict, Event};
use crate::clock::now_ms;
use crate::exec::policy::{Subject, lasting};
use crate::protocol::approval::ApprovalState;
use crate::store::approvals::ApprovalRecord;

/// The record of a step.
fn event(record: &ApprovalRecord) -> Event {
    let body = &record.body;
    let (action, verdict) = match record.state {
        ApprovalState::Pending => (Action::ApprovalRequest, Verdict::Ask),
        ApprovalState::AllowedOnce | ApprovalState::AllowedAlways => (Action::ApprovalResolve, Verdict::Allow),
        ApprovalState::Denied => (Action::ApprovalResolve, Verdict::Deny),
        ApprovalState::Expired | ApprovalState::Cancelled => (Action::ApprovalExpire, Verdict::Deny),
        ApprovalState::Used => (Action::ApprovalUse, Verdict::Allow),
        ApprovalState::Stale => (Action::ApprovalUse, Verdict::Deny),
    };
    let last = body.votes.last();
    let actor = match action {
        Action::ApprovalRequest => Some(&body.requester.principal),
        Action::ApprovalResolve => last.map(|vote| &vote.by.principal),
        _ => None,
    };
    let event = Event::new(action).target(&record.id).digest(record.digest).decided(verdict).because(record.state.name());
    let event = match actor {
        Some(actor) => event.by(actor),
        None => event,
    };
    let event = match &body.run_id {
        Some(run_id) => event.with("runId", run_id.0.clone()),
        None => event,
    };
    let voters: Vec<_> = body.votes.iter().map(|vote| vote.by.principal.clone()).collect();
    event.with("votes", json!(voters))
}

impl Approvals {
    /// Puts a step into the audit log; it is synced before anything starts because of it.
    pub(super) fn note(&self, record: &ApprovalRecord) {
        self.inner.audit.note(event(record));
    }

    /// The same, and waits until it is on the disk, with everything before it.
    pub(super) async fn record(&self, record: &ApprovalRecord) -> Result<(), AuditError> {
        self.inner.audit.append(event(record)).await
    }

    /// Writes the entries of an approval that was given for always: the programs of its plan, each by its real path, for the agent that asked.
    ///
    /// # Errors
    /// The file cannot be written; the approval itself counts all the same.
    pub async fn remember(&self, record: &ApprovalRecord) -> Result<(), FileError> {
        let Some(plan) = Subject::from_canonical(record.body.subject.clone()).and_then(|subject| subject.plan()) else { return Ok(()) };
        let Some(agent) = record.body.request.agent_id.clone() else { return Ok(()) };
        let Some(entries) = lasting::of_plan(&plan) else { return Ok(()) };
        let paths: Vec<_> = entries.into_iter().map(|entry| entry.pattern).collect();
        let command = record.body.prompt.lines().next().unwrap_or_default().to_owned();
        let (state_dir, shown) = (self.inner.state_dir.clone(), paths.clone());
        let adding = tokio::task::spawn_blocking(move || {
            let mut hash = None;
            for path in &paths {
                hash = Some(file::add(&state_dir, agent.as_str(), &Entry { path, command: &command, at: now_ms() })?.hash);
            }
            Ok(hash)
        });
        let hash = adding.await.map_err(|cause| FileError::Invalid(cause.to_string()))??;
        let by = record.body.resolved_by.as_deref().unwrap_or_default();
        let event = Event::new(Action::PolicyChange).by(by).target(file::NAME).because(&format!("approval {}", record.id));
        self.inner.audit.note(event.with("added", json!(shown)).with("after", hash.unwrap_or_default()));
        Ok(())
    }
}
