//! `exec.approvals.set`: another file of approvals in place of the one that is there.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::approvals_get::FileReply;
use super::blocking;
use crate::approvals::file;
use crate::audit::{Action, Event};
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Replace the file of exec approvals, whole or not at all. The next command is judged by the new one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetParams {
    /// What it shall say: `version` 1, `defaults`, `agents`. A `socket.token` that is left out is kept.
    pub file: Map<String, Value>,
    /// `hash` of `exec.approvals.get`; required when there is a file.
    #[serde(default)]
    pub base_hash: Option<String>,
}

/// `exec.approvals.set`.
pub struct ApprovalsSet;

impl Method for ApprovalsSet {
    const NAME: &'static str = "exec.approvals.set";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = SetParams;
    type Output = FileReply;

    async fn call(cx: Call, params: SetParams) -> Result<FileReply, RpcError> {
        let state = cx.gateway.loaded().paths.state_dir.clone();
        let SetParams { file, base_hash } = params;
        let before = base_hash.clone();
        let stored = blocking(move || file::replace(&state, file, base_hash.as_deref())).await??;
        let event = Event::new(Action::PolicyChange).by(&cx.caller.principal).credential(Some(&cx.caller.credential.to_string()));
        let event = event.target(file::NAME).with("before", before.unwrap_or_default()).with("after", stored.hash.clone());
        cx.gateway.audit.note(event);
        Ok(stored.into())
    }
}
