//! The gate of a command: what the rules say, and, where they say so, what a person says.
//!
//! ```text
//! judge ── allow ──────────────────────────────────────────────────────────────> start
//!   │  └── deny ──> the run ends
//!   └── ask ──> approval ── denied, expired, aborted ──> the run ends
//!                   └────── allowed ──> judge again ── the same ──> used ──> start
//!                                            └──────── not the same ──> stale: the run ends, nothing ran
//! ```
//! A run whose message is a command asks once in its life. One that finds that it has asked before, in a daemon that is gone, ends: nobody is to find a command running that was allowed to another daemon. A run with tools asks for each of their commands, and its shim knows which of them have no answer yet (`ask.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::end::{unavailable, without_turn};
use super::follow::asked;
use super::live::Live;
use super::policy::{Admitted, Judged, Which, refused};
use super::queue::Why;
use super::spec::Work;
use super::supervisor::Supervisor;
use crate::approvals::life::Refused;
use crate::approvals::{AskError, Failure, Question};
use crate::exec::policy::decide::unanswered;
use crate::exec::policy::{Denied, DeniedCode, Plan, Rule, Subject, Verdict, prompt};
use crate::protocol::approval::{ApprovalRequest, ApprovalState, Decision, Party};
use crate::protocol::run::Outcome;
use crate::store::approvals::ApprovalRecord;

/// A command about which a person is asked.
struct Asked<'a> {
    work: &'a Work,
    which: &'a Which,
    rule: Rule,
    always: bool,
}

impl Supervisor {
    /// Whether a command of this run may run, and as what; a person is asked if the rules say so, until `gone`.
    ///
    /// # Errors
    /// The end of the command: nothing of it ran.
    pub(super) async fn clear(
        &self,
        live: &Arc<Live>,
        work: &Work,
        which: &Which,
        gone: &CancellationToken,
    ) -> Result<Admitted, Box<Outcome>> {
        let admitted = match self.judge(live, work, which).await {
            Err(denied) => Err(boxed(denied)),
            Ok(Judged { verdict: Verdict::Allow(plan), env, .. }) => Ok(Admitted { plan, env }),
            Ok(Judged { verdict: Verdict::Deny(denied), .. }) => Err(boxed(denied)),
            Ok(Judged { verdict: Verdict::Ask(subject), rule, always, .. }) => {
                let asked = Asked { work, which, rule, always };
                self.have_allowed(live, &asked, *subject, gone).await
            }
        };
        if let Err(outcome) = &admitted {
            let (code, token) = outcome.denied.as_ref().map_or((None, ""), |denied| (Some(denied.code), denied.token.as_str()));
            info!(run_id = %live.record.run_id, ?code, token, summary = outcome.summary, "a command does not run");
            if let Some(denied) = &outcome.denied {
                // The rule only: the reason may quote the command.
                self.note_denied(live, work, &denied.token);
            }
        }
        admitted
    }

    async fn have_allowed(
        &self,
        live: &Arc<Live>,
        about: &Asked<'_>,
        subject: Subject,
        gone: &CancellationToken,
    ) -> Result<Admitted, Box<Outcome>> {
        let desk = &self.inner.desk;
        match desk.of_run(&live.record.file_id).await {
            Ok(None) => {}
            // The shim asks about commands that have not started, whoever was asked about them before.
            Ok(Some(_)) if *about.which != Which::Message => {}
            Ok(Some(earlier)) => return Err(boxed(before_restart(&earlier))),
            Err(cause) => return Err(failed(format!("approvals cannot be read: {cause}"))),
        }
        let mut pending = match desk.ask_shown(question(live, about, &subject), |awaited| live.awaits(awaited.clone())).await {
            Ok(pending) => pending,
            Err(AskError::NoApprover) => return Err(boxed(unanswered(&subject))),
            Err(error @ AskError::TooMany) => return Err(boxed(Denied::by_rule("TOO_MANY_APPROVALS", error.to_string()))),
            Err(error) => return Err(failed(format!("nobody could be asked about the command: {error}"))),
        };
        let id = pending.awaited.id.clone();
        info!(run_id = %live.record.run_id, approval = id, "a run waits until its command is allowed");
        let mut abort = live.abort_asked();
        let settled = tokio::select! {
            record = pending.settled() => Ok(record),
            reason = asked(&mut abort) => Err(reason),
            () = gone.cancelled() => Err("withdrawn".to_owned()),
        };
        live.awaits_no_more(&id);
        match settled {
            Err(reason) => {
                let why = if gone.is_cancelled() { "nobody waits for the command any more" } else { "the run was aborted" };
                if let Err(cause) = desk.cancel(&id, why).await {
                    warn!(approval = id, %cause, "an approval could not be cancelled; it ends by itself");
                }
                Err(Box::new(without_turn(Why::Asked, &reason)))
            }
            Ok(record) if record.state.is_allowed() => self.look_again(live, about, &id).await,
            Ok(record) => Err(boxed(ended(&record))),
        }
    }

    /// The second look, right before the start: what is there now must be what was shown.
    async fn look_again(&self, live: &Arc<Live>, about: &Asked<'_>, id: &str) -> Result<Admitted, Box<Outcome>> {
        let (found, why) = match self.judge(live, about.work, about.which).await {
            Ok(judged) => (same_form(live, about.which, judged), "the rules for commands have changed".to_owned()),
            Err(denied) => (None, denied.reason),
        };
        // What cannot be compared is not the same.
        let digest = found.as_ref().map_or([0; 32], |(_, digest, _)| *digest);
        let used = self.inner.desk.consume(id, &live.record.file_id, &digest).await;
        match (used, found) {
            (Ok(_), Some((mut plan, _, env))) => {
                plan.approval = Some(id.to_owned());
                Ok(Admitted { plan: Some(Box::new(plan)), env })
            }
            (Err(Failure::Refused(refusal)), found) => {
                let why = found.map_or(why, |_| "the command, its files, its folder or its environment are not what was shown".to_owned());
                Err(boxed(not_usable(id, &refusal, &why)))
            }
            (Err(cause), _) => Err(failed(format!("the use of approval {id} could not be written down: {cause}"))),
            (Ok(_), None) => Err(failed(format!("approval {id} was used for nothing"))),
        }
    }
}

/// The end of a run whose command was refused.
fn boxed(denied: Denied) -> Box<Outcome> {
    Box::new(refused(denied))
}

/// The end of a run that something kept from being decided about.
fn failed(summary: String) -> Box<Outcome> {
    Box::new(unavailable(summary))
}

/// What would start now, with its digest; none if it would not start by a plan.
fn same_form(live: &Live, which: &Which, judged: Judged) -> Option<(Plan, [u8; 32], BTreeMap<String, String>)> {
    match judged.verdict {
        Verdict::Ask(subject) => Some((subject.plan()?, subject.digest, judged.env)),
        // An entry that was written for this very decision.
        Verdict::Allow(Some(plan)) => {
            let subject = Subject::new(&plan, &which.name(live), &live.record.principal);
            Some((*plan, subject.digest, judged.env))
        }
        Verdict::Allow(None) | Verdict::Deny(_) => None,
    }
}

fn question(live: &Live, about: &Asked<'_>, subject: &Subject) -> Question {
    let Asked { work, rule, always, .. } = *about;
    let record = &live.record;
    let first = subject.plan().and_then(|plan| plan.stages.into_iter().next());
    let shown = |path: &std::path::Path| prompt::shown(&path.to_string_lossy(), 512);
    let request = ApprovalRequest {
        command: prompt::shown(&work.message, prompt::MAX_PROMPT),
        cwd: Some(shown(&work.cwd)),
        host: Some("gateway".to_owned()),
        security: Some(rule.security.name()),
        ask: Some(rule.ask.name()),
        agent_id: Some(record.agent_id.clone()),
        resolved_path: first.map(|stage| shown(&stage.exe.path)),
        session_key: Some(record.session_key.clone()),
    };
    let allowed = if always { Decision::ALL.to_vec() } else { vec![Decision::AllowOnce, Decision::Deny] };
    Question {
        id: None,
        digest: subject.digest,
        subject: subject.canonical.clone(),
        prompt: subject.prompt.clone(),
        request,
        allowed,
        run: Some((record.file_id.clone(), record.run_id.clone())),
        requester: Party { principal: record.principal.clone(), conn_id: None },
        others: live.carried_principals(),
        timeout: None,
    }
}

/// Why a run whose approval was not given does not run.
fn ended(record: &ApprovalRecord) -> Denied {
    let id = &record.id;
    match record.state {
        ApprovalState::Denied => {
            let by = record.body.resolved_by.as_deref().unwrap_or("somebody");
            Denied::by_rule("DENIED", format!("{} refused the command (approval {id})", prompt::shown(by, 128)))
        }
        ApprovalState::Expired => Denied::by_rule("EXPIRED", format!("nobody decided about the command in time (approval {id})")),
        _ => {
            let why = record.body.reason.as_deref().unwrap_or("gone");
            Denied::by_rule("CANCELLED", format!("approval {id} was cancelled: {why}"))
        }
    }
}

/// Why a run that asked in an earlier daemon does not run.
fn before_restart(earlier: &ApprovalRecord) -> Denied {
    let reason = format!("the gateway was restarted while the command waited for approval {}; nothing ran, send it again", earlier.id);
    Denied::by_rule("CANCELLED", reason)
}

/// Why an approval that was given does not let its run start.
fn not_usable(id: &str, refusal: &Refused, why: &str) -> Denied {
    let (code, token) = match refusal {
        Refused::Stale => (DeniedCode::ApprovalStale, "CHANGED"),
        Refused::Used => (DeniedCode::ExecDenied, "USED"),
        Refused::Mismatch => (DeniedCode::ExecDenied, "MISMATCH"),
        Refused::Expired => (DeniedCode::ExecDenied, "EXPIRED"),
        Refused::Cancelled(_) => (DeniedCode::ExecDenied, "CANCELLED"),
        Refused::Resolved(_) | Refused::Own | Refused::NotOffered(_) | Refused::NotAllowed => (DeniedCode::ExecDenied, "NOT_ALLOWED"),
    };
    let reason = if *refusal == Refused::Stale {
        format!("approval {id} is stale, and nothing ran: {why}")
    } else {
        format!("approval {id}: {refusal}")
    };
    Denied { code, token: token.to_owned(), reason }
}
