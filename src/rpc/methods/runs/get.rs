//! `runs.get`: one run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::row;
use crate::protocol::error::RpcError;
use crate::protocol::ids::RunId;
use crate::protocol::run::RunRow;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// One run: where it stands, and how it ended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetParams {
    /// The run.
    #[schemars(length(min = 1, max = 256))]
    pub run_id: String,
}

/// `runs.get`.
pub struct Get;

impl Method for Get {
    const NAME: &'static str = "runs.get";
    const SCOPE: Scope = Scope::Read;
    type Params = GetParams;
    type Output = RunRow;

    async fn call(cx: Call, params: GetParams) -> Result<RunRow, RpcError> {
        let run_id = RunId(params.run_id);
        let handle = cx.run(&run_id).await?;
        Ok(row(&cx, &handle))
    }
}
