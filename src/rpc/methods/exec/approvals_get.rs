//! `exec.approvals.get`: the file of approvals, as it stands, without its secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::blocking;
use crate::approvals::file::{self, Stored};
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// The file of exec approvals, as it stands on the disk: what may run without asking, and how strict it is for whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetParams {}

/// The file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileReply {
    /// Where it is, or would be.
    pub path: String,
    /// Whether it is there.
    pub exists: bool,
    /// SHA-256 of its text, hexadecimal; of nothing if it is not there. Send it back with a change as `baseHash`.
    pub hash: String,
    /// What it says; `socket.token` is left out.
    pub file: Map<String, Value>,
}

impl From<Stored> for FileReply {
    fn from(stored: Stored) -> Self {
        Self { path: stored.path.display().to_string(), exists: stored.exists, file: stored.shown(), hash: stored.hash }
    }
}

/// `exec.approvals.get`.
pub struct ApprovalsGet;

impl Method for ApprovalsGet {
    const NAME: &'static str = "exec.approvals.get";
    const SCOPE: Scope = Scope::Admin;
    type Params = GetParams;
    type Output = FileReply;

    async fn call(cx: Call, _params: GetParams) -> Result<FileReply, RpcError> {
        let state = cx.gateway.loaded().paths.state_dir.clone();
        Ok(blocking(move || file::read(&state)).await??.into())
    }
}
