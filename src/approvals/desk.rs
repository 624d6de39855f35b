//! Who may decide and is there, and what they are told.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Approvals, Pending};
use crate::clock::now_ms;
use crate::protocol::approval::{ApprovalState, ApprovalView, AwaitedApproval, Decision, Party};
use crate::protocol::event::approval::{ApprovalExpired, ApprovalRequested, ApprovalResolved};
use crate::store::approvals::ApprovalRecord;

/// A connection that may decide, as long as this is kept.
pub struct Approver {
    approvals: Approvals,
    conn_id: String,
}

impl Drop for Approver {
    fn drop(&mut self) {
        self.approvals.approvers().remove(&self.conn_id);
    }
}

impl Approvals {
    /// A connection has come that may decide.
    #[must_use]
    pub fn join(&self, conn_id: &str, principal: Arc<str>) -> Approver {
        self.approvers().insert(conn_id.to_owned(), principal);
        Approver { approvals: self.clone(), conn_id: conn_id.to_owned() }
    }

    /// Whether anybody is connected who may decide about what these ask.
    #[must_use]
    pub fn reachable(&self, requester: &Party, others: &[String]) -> bool {
        let asks = |principal: &str| principal == requester.principal || others.iter().any(|other| other == principal);
        self.approvers().iter().any(|(conn_id, principal)| !asks(principal) && Some(conn_id) != requester.conn_id.as_ref())
    }

    /// What waits for a decision, oldest first.
    #[must_use]
    pub fn pending(&self) -> Vec<ApprovalRecord> {
        let mut pending: Vec<_> = self
            .live()
            .values()
            .filter(|entry| entry.durable)
            .map(|entry| entry.record.borrow().clone())
            .filter(|record| record.state == ApprovalState::Pending)
            .collect();
        pending.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        pending
    }

    /// How many runs wait for a decision.
    #[must_use]
    pub fn waiting_runs(&self) -> usize {
        let waits = |record: &ApprovalRecord| record.state == ApprovalState::Pending && record.file_id.is_some();
        self.live().values().filter(|entry| waits(&entry.record.borrow())).count()
    }

    /// One that waits, or was decided and not used yet, to wait for.
    #[must_use]
    pub fn awaiting(&self, id: &str) -> Option<Pending> {
        let live = self.live();
        let entry = live.get(id).filter(|entry| entry.durable)?;
        let record = entry.record.subscribe();
        let (created_at, expires_at_ms) = {
            let record = record.borrow();
            (record.created_at, record.expires_at)
        };
        Some(Pending { awaited: AwaitedApproval { id: id.to_owned(), expires_at_ms }, created_at, record })
    }

    pub(super) fn tell_requested(&self, record: &ApprovalRecord) {
        let body = &record.body;
        let event = ApprovalRequested {
            id: record.id.clone(),
            request: body.request.clone(),
            prompt: body.prompt.clone(),
            digest: hex(&record.digest),
            allowed_decisions: body.allowed.clone(),
            run_id: body.run_id.clone(),
            needed: body.needed,
            created_at_ms: record.created_at,
            expires_at_ms: record.expires_at,
        };
        self.inner.hub.signal("exec.approval.requested", &event);
    }

    /// A record was written: tells who waits and who may decide.
    pub(super) fn settle(&self, next: ApprovalRecord) {
        let before = self.live().get(&next.id).map(|entry| {
            let before = entry.record.borrow().state;
            entry.record.send_if_modified(|known| {
                let newer = known.revision < next.revision;
                if newer {
                    *known = next.clone();
                }
                newer
            });
            before
        });
        if before.is_some_and(|before| before == next.state) {
            return;
        }
        if !matches!(next.state, ApprovalState::Used | ApprovalState::Stale) {
            self.note(&next);
        }
        let (id, run_id, ts) = (next.id.clone(), next.body.run_id.clone(), next.body.resolved_at.unwrap_or_else(now_ms));
        let decision = match next.state {
            ApprovalState::AllowedOnce => Decision::AllowOnce,
            ApprovalState::AllowedAlways => Decision::AllowAlways,
            ApprovalState::Denied => Decision::Deny,
            ApprovalState::Expired | ApprovalState::Cancelled => {
                let event = ApprovalExpired { id, state: next.state, reason: next.body.reason, run_id, ts };
                return self.inner.hub.signal("exec.approval.expired", &event);
            }
            ApprovalState::Pending | ApprovalState::Used | ApprovalState::Stale => return,
        };
        let event = ApprovalResolved { id, decision, resolved_by: next.body.resolved_by, run_id, ts };
        self.inner.hub.signal("exec.approval.resolved", &event);
    }

    fn approvers(&self) -> MutexGuard<'_, std::collections::HashMap<String, Arc<str>>> {
        self.inner.approvers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An approval as clients see it.
#[must_use]
pub fn view(record: &ApprovalRecord) -> ApprovalView {
    let body = record.body.clone();
    ApprovalView {
        id: record.id.clone(),
        state: record.state,
        request: body.request,
        prompt: body.prompt,
        digest: hex(&record.digest),
        allowed_decisions: body.allowed,
        run_id: body.run_id,
        requester: body.requester,
        needed: body.needed,
        votes: body.votes,
        created_at_ms: record.created_at,
        expires_at_ms: record.expires_at,
        resolved_at_ms: body.resolved_at,
        resolved_by: body.resolved_by,
        reason: body.reason,
    }
}

/// What was decided; none = nobody decided.
#[must_use]
pub fn decision_of(record: &ApprovalRecord) -> Option<Decision> {
    match record.state {
        ApprovalState::Pending | ApprovalState::Expired | ApprovalState::Cancelled => None,
        ApprovalState::Denied => Some(Decision::Deny),
        ApprovalState::AllowedOnce => Some(Decision::AllowOnce),
        ApprovalState::AllowedAlways => Some(Decision::AllowAlways),
        ApprovalState::Used | ApprovalState::Stale => {
            let always = record.body.votes.iter().all(|vote| vote.decision == Decision::AllowAlways);
            Some(if always { Decision::AllowAlways } else { Decision::AllowOnce })
        }
    }
}

/// The digest as clients see it.
#[must_use]
pub fn digest_text(record: &ApprovalRecord) -> String {
    hex(&record.digest)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
