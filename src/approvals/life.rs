//! The life of an approval, without a clock, a store or anybody to tell.
//!
//! ```text
//!            ┌─ enough votes ─> allowed-once | allowed-always ─ same subject ─> used
//! pending ───┼─ one refusal ──> denied                        └ another one ──> stale
//!            ├─ time is up ───> expired
//!            └─ nobody wants ─> cancelled  (an allowed one too, as long as it is not used)
//! ```
//! Nothing leads back, so an approval is used at most once, and every step gives a record with the next revision: of two steps that were taken from one record the store keeps the first.

use crate::protocol::approval::{ApprovalState, Decision, Party, Vote};
use crate::store::approvals::ApprovalRecord;

/// Why a step was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody else decided before.
    #[error("it was decided before: {0}")]
    Resolved(&'static str),
    /// What it was for has started.
    #[error("it was used")]
    Used,
    /// What was to start had changed.
    #[error("what it was for has changed since it was shown")]
    Stale,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// What asked for it is gone.
    #[error("it was cancelled ({0})")]
    Cancelled(String),
    /// Who asked for it must not allow it.
    #[error("nobody approves what they asked for themselves")]
    Own,
    /// It is for another run, or not for what is meant.
    #[error("it is for something else")]
    Mismatch,
    /// This cannot be decided about it.
    #[error("{} is unavailable for this command: it would allow more than what was shown", .0.name())]
    NotOffered(Decision),
    /// Nobody has allowed it.
    #[error("it was not allowed")]
    NotAllowed,
}

/// What a decision makes of an approval.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// The same decision of the same approver was there before.
    Same,
    /// This is the record from now on.
    Next(Box<ApprovalRecord>),
}

/// Why nothing more can be decided about it; none = it is pending.
fn closed(record: &ApprovalRecord) -> Option<Refused> {
    match record.state {
        ApprovalState::Pending => None,
        ApprovalState::AllowedOnce | ApprovalState::AllowedAlways | ApprovalState::Denied => Some(Refused::Resolved(record.state.name())),
        ApprovalState::Expired => Some(Refused::Expired),
        ApprovalState::Cancelled => Some(Refused::Cancelled(record.body.reason.clone().unwrap_or_else(|| "gone".to_owned()))),
        ApprovalState::Used => Some(Refused::Used),
        ApprovalState::Stale => Some(Refused::Stale),
    }
}

fn next(record: &ApprovalRecord) -> ApprovalRecord {
    ApprovalRecord { revision: record.revision + 1, ..record.clone() }
}

fn resolved(mut record: ApprovalRecord, state: ApprovalState, at: u64) -> ApprovalRecord {
    record.state = state;
    record.body.resolved_at = Some(at);
    record
}

/// A vote. The first refusal counts at once; permission counts when enough different approvers have given it, and is for always only if all of them said so.
///
/// Who asked may take it back, but not allow it.
///
/// # Errors
/// Why it does not count.
pub fn decide(record: &ApprovalRecord, by: &Party, decision: Decision, at: u64) -> Result<Decided, Refused> {
    if let Some(refused) = closed(record) {
        let same = matches!(refused, Refused::Resolved(_))
            && record.body.votes.iter().any(|vote| vote.by.principal == by.principal && vote.decision == decision);
        return if same { Ok(Decided::Same) } else { Err(refused) };
    }
    let asker = &record.body.requester;
    let own = by.principal == asker.principal
        || record.body.others.contains(&by.principal)
        || (by.conn_id.is_some() && by.conn_id == asker.conn_id);
    if own && decision != Decision::Deny {
        return Err(Refused::Own);
    }
    if decision != Decision::Deny && !record.body.allowed.contains(&decision) {
        return Err(Refused::NotOffered(decision));
    }
    let mut next = next(record);
    let votes = &mut next.body.votes;
    if votes.iter().any(|vote| vote.by.principal == by.principal && vote.decision == decision) {
        return Ok(Decided::Same);
    }
    votes.retain(|vote| vote.by.principal != by.principal);
    votes.push(Vote { by: by.clone(), decision, ts: at });
    let enough = u32::try_from(votes.len()).unwrap_or(u32::MAX) >= next.body.needed;
    let always = votes.iter().all(|vote| vote.decision == Decision::AllowAlways);
    let state = match decision {
        Decision::Deny => ApprovalState::Denied,
        _ if !enough => return Ok(Decided::Next(Box::new(next))),
        _ if always => ApprovalState::AllowedAlways,
        _ => ApprovalState::AllowedOnce,
    };
    next.body.resolved_by = Some(by.principal.clone());
    Ok(Decided::Next(Box::new(resolved(next, state, at))))
}

/// Its time is up. None = it does not wait any more.
#[must_use]
pub fn expire(record: &ApprovalRecord, at: u64) -> Option<ApprovalRecord> {
    (record.state == ApprovalState::Pending).then(|| resolved(next(record), ApprovalState::Expired, at))
}

/// What asked for it is gone. None = it is over anyway.
#[must_use]
pub fn cancel(record: &ApprovalRecord, reason: &str, at: u64) -> Option<ApprovalRecord> {
    let open = record.state == ApprovalState::Pending || record.state.is_allowed();
    open.then(|| {
        let mut next = resolved(next(record), ApprovalState::Cancelled, at);
        next.body.reason = Some(reason.to_owned());
        next
    })
}

/// What it was given for is about to start: `used`, or `stale` if that is not what was shown.
///
/// # Errors
/// Why it gives no leave; the record stays as it is.
pub fn consume(record: &ApprovalRecord, file_id: &str, digest: &[u8; 32], at: u64) -> Result<ApprovalRecord, Refused> {
    match record.state {
        ApprovalState::Pending | ApprovalState::Denied => return Err(Refused::NotAllowed),
        state if state.is_allowed() => {}
        _ => return Err(closed(record).unwrap_or(Refused::NotAllowed)),
    }
    if record.file_id.as_deref() != Some(file_id) {
        return Err(Refused::Mismatch);
    }
    let mut next = next(record);
    if record.digest == *digest {
        next.state = ApprovalState::Used;
    } else {
        next.state = ApprovalState::Stale;
        next.body.reason = Some(format!("something changed between the decision and the start, at {at}"));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::approvals::tests::approval;

    const AT: u64 = 1000;

    fn party(principal: &str) -> Party {
        Party { principal: principal.to_owned(), conn_id: Some(format!("conn-{principal}")) }
    }

    fn decided(record: &ApprovalRecord, by: &str, decision: Decision) -> ApprovalRecord {
        match decide(record, &party(by), decision, AT).unwrap() {
            Decided::Next(next) => *next,
            Decided::Same => panic!("nothing changed"),
        }
    }

    #[test]
    fn m71_who_asked_may_take_it_back_but_not_allow_it() {
        let mut record = approval("a");
        for decision in [Decision::AllowOnce, Decision::AllowAlways] {
            assert_eq!(decide(&record, &party("token"), decision, AT), Err(Refused::Own));
        }
        record.body.others = vec!["friend".to_owned()];
        assert_eq!(decide(&record, &party("friend"), Decision::AllowOnce, AT), Err(Refused::Own), "a part of it is theirs");
        record.body.requester = Party { principal: "other".to_owned(), conn_id: Some("conn-local".to_owned()) };
        assert_eq!(decide(&record, &party("local"), Decision::AllowOnce, AT), Err(Refused::Own), "the same connection under another name");
        assert_eq!(decided(&approval("a"), "token", Decision::Deny).state, ApprovalState::Denied);
    }

    #[test]
    fn m71_it_is_used_once_and_by_its_own_run() {
        let allowed = decided(&approval("a"), "local", Decision::AllowOnce);
        assert_eq!((allowed.state, allowed.body.resolved_by.as_deref()), (ApprovalState::AllowedOnce, Some("local")));
        assert_eq!(consume(&allowed, "file-b", &[7; 32], AT), Err(Refused::Mismatch));
        let used = consume(&allowed, "file-a", &[7; 32], AT).unwrap();
        assert_eq!(used.state, ApprovalState::Used);
        assert_eq!(consume(&used, "file-a", &[7; 32], AT), Err(Refused::Used));
        assert_eq!(decide(&used, &party("local"), Decision::AllowOnce, AT), Err(Refused::Used));
        assert_eq!(consume(&approval("a"), "file-a", &[7; 32], AT), Err(Refused::NotAllowed));
    }

    #[test]
    fn m70_what_is_not_what_was_shown_makes_it_stale_for_good() {
        let allowed = decided(&approval("a"), "local", Decision::AllowAlways);
        let stale = consume(&allowed, "file-a", &[8; 32], AT).unwrap();
        assert_eq!(stale.state, ApprovalState::Stale);
        assert_eq!(consume(&stale, "file-a", &[7; 32], AT), Err(Refused::Stale));
    }

    #[test]
    fn m71_a_late_click_is_told_what_happened() {
        let record = approval("a");
        let late = |record: &ApprovalRecord| decide(record, &party("local"), Decision::AllowOnce, AT);
        assert_eq!(late(&expire(&record, AT).unwrap()), Err(Refused::Expired));
        assert_eq!(late(&cancel(&record, "restart", AT).unwrap()), Err(Refused::Cancelled("restart".to_owned())));
        assert_eq!(late(&decided(&record, "x", Decision::Deny)), Err(Refused::Resolved("denied")));
        let own = decided(&record, "local", Decision::AllowOnce);
        assert_eq!(late(&own), Ok(Decided::Same), "the same click twice");
        assert_eq!(expire(&own, AT), None, "what was decided in time stays so");
    }

    #[test]
    fn two_of_three_need_two_different_approvers_and_one_refusal_is_enough() {
        let mut record = approval("a");
        record.body.needed = 2;
        let one = decided(&record, "x", Decision::AllowAlways);
        assert_eq!((one.state, one.revision), (ApprovalState::Pending, 2));
        assert_eq!(decide(&one, &party("x"), Decision::AllowAlways, AT), Ok(Decided::Same));
        let changed = decided(&one, "x", Decision::AllowOnce);
        assert_eq!((changed.state, changed.body.votes.len()), (ApprovalState::Pending, 1), "a vote that changed is still one");
        assert_eq!(decided(&one, "y", Decision::AllowAlways).state, ApprovalState::AllowedAlways);
        assert_eq!(decided(&one, "y", Decision::AllowOnce).state, ApprovalState::AllowedOnce);
        assert_eq!(decided(&one, "y", Decision::Deny).state, ApprovalState::Denied);
    }

    #[test]
    fn for_always_is_refused_where_it_is_not_offered() {
        let mut record = approval("a");
        record.body.allowed = vec![Decision::AllowOnce, Decision::Deny];
        assert_eq!(decide(&record, &party("x"), Decision::AllowAlways, AT), Err(Refused::NotOffered(Decision::AllowAlways)));
    }

    proptest! {
        /// Whatever happens in whatever order: it starts at most once, only after enough votes of others and none against.
        #[test]
        fn nothing_leads_back_and_nothing_is_used_twice(needed in 1_u32..4, steps in prop::collection::vec((0_u8..6, 0_u8..4, 0_u8..3), 0..24)) {
            let mut record = approval("a");
            record.body.needed = needed;
            let mut starts = 0;
            for (step, who, what) in steps {
                let principal = ["token", "x", "y", "z"][usize::from(who)];
                let decision = Decision::ALL[usize::from(what)];
                let before = record.clone();
                match step {
                    0..3 => if let Ok(Decided::Next(next)) = decide(&record, &party(principal), decision, AT) { record = *next },
                    3 => if let Some(next) = expire(&record, AT) { record = next },
                    4 => if let Some(next) = cancel(&record, "restart", AT) { record = next },
                    _ => if let Ok(next) = consume(&record, "file-a", &[7; 32], AT) {
                        record = next;
                        starts += 1;
                        let allowing = record.body.votes.iter().filter(|vote| vote.decision != Decision::Deny);
                        prop_assert!(allowing.clone().count() >= needed as usize && allowing.clone().count() == record.body.votes.len());
                        prop_assert!(record.body.votes.iter().all(|vote| vote.by.principal != "token"));
                    },
                }
                prop_assert!(before.state == ApprovalState::Pending || before.state.is_allowed() || before == record);
                prop_assert!(record == before || record.revision == before.revision + 1);
            }
            prop_assert!(starts <= 1);
        }
    }
}
