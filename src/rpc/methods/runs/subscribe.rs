//! `runs.subscribe`: every event of a run from a place on, then live.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::row;
use crate::protocol::error::RpcError;
use crate::protocol::ids::RunId;
use crate::protocol::run::RunStatus;
use crate::protocol::scope::Scope;
use crate::rpc::call::{Call, Outgoing};
use crate::rpc::method::Method;

/// Deliver every event of a run with a `seq` above `after`, in order and once, and go on live. Works for runs of any age, from any connection, and after a restart. What this connection has already been given of the run is not given again, unless it has called `runs.unsubscribe` in between.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscribeParams {
    /// The run.
    #[schemars(length(min = 1, max = 256))]
    pub run_id: String,
    /// The last `seq` that the client has; 0 or absent = from the beginning.
    #[serde(default)]
    pub after: Option<u64>,
}

/// Where the run stands; the events follow.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscribeReply {
    /// The run.
    pub run_id: RunId,
    /// Its status.
    pub status: RunStatus,
    /// Its highest `seq` now; for a run that is over, its last.
    pub head: u64,
}

/// `runs.subscribe`.
pub struct Subscribe;

impl Method for Subscribe {
    const NAME: &'static str = "runs.subscribe";
    const SCOPE: Scope = Scope::Read;
    type Params = SubscribeParams;
    type Output = SubscribeReply;

    async fn call(cx: Call, params: SubscribeParams) -> Result<SubscribeReply, RpcError> {
        let run_id = RunId(params.run_id);
        let handle = cx.run(&run_id).await?;
        let log = cx.gateway.runs.log_of(&handle);
        // Before the head: a run that ends in between is not said to be over at an earlier line.
        let row = row(&cx, &handle);
        let (head, after) = (log.head(), params.after.unwrap_or(0));
        if after > head && row.status.is_terminal() {
            let text = format!("invalid runs.subscribe params: at /after: must be <= {head}, the run's last seq");
            let error = RpcError::invalid(text).with_code("CURSOR_AHEAD").with_detail("head", json!(head));
            return Err(error.with_detail("recommendedNextStep", json!("subscribe_from_start")));
        }
        cx.then(Outgoing::Follow(log, after));
        Ok(SubscribeReply { run_id: row.run_id, status: row.status, head })
    }
}
