//! `runs.unsubscribe`: no more events of a run on this connection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::ids::RunId;
use crate::protocol::scope::Scope;
use crate::rpc::call::{Call, Outgoing};
use crate::rpc::method::Method;

/// Deliver no more events of a run on this connection. A later `runs.subscribe` starts wherever it says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnsubscribeParams {
    /// The run.
    #[schemars(length(min = 1, max = 256))]
    pub run_id: String,
}

/// Done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnsubscribeReply {
    /// The run.
    pub run_id: RunId,
    /// Always true.
    pub ok: bool,
}

/// `runs.unsubscribe`.
pub struct Unsubscribe;

impl Method for Unsubscribe {
    const NAME: &'static str = "runs.unsubscribe";
    const SCOPE: Scope = Scope::Read;
    type Params = UnsubscribeParams;
    type Output = UnsubscribeReply;

    async fn call(cx: Call, params: UnsubscribeParams) -> Result<UnsubscribeReply, RpcError> {
        let run_id = RunId(params.run_id);
        let handle = cx.run(&run_id).await?;
        cx.outlet
            .push(Outgoing::Unfollow(handle.record().file_id.clone()))
            .await
            .map_err(|_| RpcError::try_again("the connection is gone", 0))?;
        Ok(UnsubscribeReply { run_id, ok: true })
    }
}
