//! `chat.abort`: end the runs of a session, or one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::Action;
use crate::protocol::error::RpcError;
use crate::protocol::ids::RunId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};
use crate::rpc::methods::agent::target;
use crate::runs::handle::Handle;

/// End the runs of a session, queued ones too, or the one named. A run that is unknown or over is no error: `aborted` is false.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbortParams {
    /// The session, in any form.
    #[schemars(length(min = 1, max = 512))]
    pub session_key: String,
    /// Only this run.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub run_id: Option<String>,
}

/// What was ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbortReply {
    /// Always true.
    pub ok: bool,
    /// Whether there was anything to end.
    pub aborted: bool,
    /// The runs that were asked to end.
    pub run_ids: Vec<RunId>,
}

/// `chat.abort`.
pub struct Abort;

impl Method for Abort {
    const NAME: &'static str = "chat.abort";
    const SCOPE: Scope = Scope::Write;
    const RATE: Rate = Rate::Abort;
    type Params = AbortParams;
    type Output = AbortReply;

    async fn call(cx: Call, params: AbortParams) -> Result<AbortReply, RpcError> {
        let (_, session) = target::resolve(&cx.gateway, Self::NAME, None, Some(&params.session_key))?;
        let runs = &cx.gateway.runs;
        let live = match params.run_id {
            None => {
                let lives = runs.abort_session(&session, |run| cx.caller.knows(run), "rpc").await;
                let run_ids: Vec<RunId> = lives.iter().map(|live| live.record.run_id.clone()).collect();
                note_aborted(&cx, &run_ids, "rpc");
                return Ok(AbortReply { ok: true, aborted: !run_ids.is_empty(), run_ids });
            }
            Some(run_id) => match runs.find(&RunId(run_id)).await?.filter(|handle| cx.caller.knows(handle.record())) {
                Some(handle) if handle.record().session_key != session => {
                    return Err(RpcError::invalid("runId does not match sessionKey").with_code("RUN_MISMATCH"));
                }
                Some(Handle::Live(live)) => Some(live),
                _ => None,
            },
        };
        let mut run_ids = Vec::new();
        if let Some(live) = live
            && runs.abort(&live, "rpc").await
        {
            run_ids.push(live.record.run_id.clone());
        }
        note_aborted(&cx, &run_ids, "rpc");
        Ok(AbortReply { ok: true, aborted: !run_ids.is_empty(), run_ids })
    }
}

/// Notes whose end the caller asked for.
pub fn note_aborted(cx: &Call, run_ids: &[RunId], reason: &str) {
    for run_id in run_ids {
        cx.gateway.audit.note(cx.caller.event(Action::Abort).target(run_id.as_str()).because(reason));
    }
}
