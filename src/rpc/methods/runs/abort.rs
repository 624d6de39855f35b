//! `runs.abort`: end one run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::Action;
use crate::protocol::error::RpcError;
use crate::protocol::ids::RunId;
use crate::protocol::run::RunStatus;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};
use crate::runs::handle::Handle;

/// End a run, queued or at work: its processes get TERM, a grace period, then KILL. Safe to repeat; a run that is over stays as it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbortParams {
    /// The run.
    #[schemars(length(min = 1, max = 256))]
    pub run_id: String,
}

/// Where the run stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbortReply {
    /// The run.
    pub run_id: RunId,
    /// Whether this request ended it or its end is on its way.
    pub aborted: bool,
    /// Its status when this was answered.
    pub status: RunStatus,
}

/// `runs.abort`.
pub struct Abort;

impl Method for Abort {
    const NAME: &'static str = "runs.abort";
    const SCOPE: Scope = Scope::Write;
    const RATE: Rate = Rate::Abort;
    type Params = AbortParams;
    type Output = AbortReply;

    async fn call(cx: Call, params: AbortParams) -> Result<AbortReply, RpcError> {
        let run_id = RunId(params.run_id);
        match cx.run(&run_id).await? {
            Handle::Past(record) => Ok(AbortReply { run_id, aborted: false, status: record.status }),
            Handle::Live(live) => {
                let aborted = cx.gateway.runs.abort(&live, "rpc").await;
                if aborted {
                    cx.gateway.audit.note(cx.caller.event(Action::Abort).target(run_id.as_str()).because("rpc"));
                }
                Ok(AbortReply { run_id, aborted, status: live.status() })
            }
        }
    }
}
