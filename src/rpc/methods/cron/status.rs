//! `cron.status`: whether jobs run; they do not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Whether jobs run and when the next is due. This version has no jobs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusParams {}

/// Nothing runs by time.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    /// Always false.
    pub enabled: bool,
    /// Where jobs would be kept.
    pub store_path: String,
    /// Always 0.
    pub jobs: u64,
    /// Always null.
    pub next_wake_at_ms: Option<u64>,
}

/// `cron.status`.
pub struct Status;

impl Method for Status {
    const NAME: &'static str = "cron.status";
    const SCOPE: Scope = Scope::Read;
    type Params = StatusParams;
    type Output = StatusReply;

    async fn call(cx: Call, _params: StatusParams) -> Result<StatusReply, RpcError> {
        let store_path = cx.gateway.loaded().paths.state_dir.join("cron").join("jobs.json").display().to_string();
        Ok(StatusReply { enabled: false, store_path, jobs: 0, next_wake_at_ms: None })
    }
}
