//! `exec.approval.resolve`: decide about a command.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::approval_request::party;
use crate::approvals::desk::digest_text;
use crate::approvals::file::FileError;
use crate::protocol::approval::{ApprovalState, Decision};
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::error::{approval_refused, mismatch};
use crate::rpc::method::{Effect, Method, Rate};

/// Decide about a command. The first refusal counts, and the last permission that is needed; who asked may take the question back but not answer it. Safe to repeat.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveParams {
    /// The approval.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// `allow-once`, `allow-always` or `deny`.
    #[schemars(length(max = 32))]
    pub decision: String,
    /// The `digest` that was shown with it; if given, nothing else is decided about.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// The run that was shown with it; if given, no other run's approval is decided.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub run_id: Option<String>,
}

/// It counts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolveReply {
    /// Always true.
    pub ok: bool,
    /// The approval.
    pub id: String,
    /// Where it stands now: still `pending` while more approvers are needed.
    pub state: ApprovalState,
    /// How many more must allow it.
    pub missing: u32,
}

/// `exec.approval.resolve`.
pub struct Resolve;

impl Method for Resolve {
    const NAME: &'static str = "exec.approval.resolve";
    const SCOPE: Scope = Scope::Approvals;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    type Params = ResolveParams;
    type Output = ResolveReply;

    async fn call(cx: Call, params: ResolveParams) -> Result<ResolveReply, RpcError> {
        let Some(decision) = Decision::parse(&params.decision) else {
            let text = format!("invalid decision: {} is none of allow-once, allow-always, deny", short(&params.decision));
            return Err(RpcError::invalid(text).with_code("INVALID_DECISION"));
        };
        let approvals = &cx.gateway.approvals;
        let record = approvals.find(&params.id).await.map_err(|failure| approval_refused(failure, cx.caller.protocol))?;
        let other_run = params.run_id.is_some_and(|run| record.body.run_id.as_ref().is_none_or(|own| *own.0 != run));
        let other_digest = params.digest.is_some_and(|digest| !digest.eq_ignore_ascii_case(&digest_text(&record)));
        if other_run || other_digest {
            return Err(mismatch());
        }
        let decided = approvals.decide(&params.id, &party(&cx), decision).await;
        let record = decided.map_err(|failure| approval_refused(failure, cx.caller.protocol))?;
        if record.state == ApprovalState::AllowedAlways {
            let told = |error: FileError| {
                let text = format!("the command is allowed this once, but the entry for always could not be written: {error}");
                RpcError::unavailable(text, &error).with_code("APPROVALS_UNAVAILABLE")
            };
            approvals.remember(&record).await.map_err(told)?;
        }
        let votes = u32::try_from(record.body.votes.len()).unwrap_or(u32::MAX);
        let missing = if record.state == ApprovalState::Pending { record.body.needed.saturating_sub(votes) } else { 0 };
        Ok(ResolveReply { ok: true, id: record.id, state: record.state, missing })
    }
}
