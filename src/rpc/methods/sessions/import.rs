//! `sessions.import`: take over the sessions of the original from a file on the gateway's machine.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::importing::NotImported;
use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};

/// Take over the sessions of the original from its `sessions.json`, which stays as it is. Sessions that are here already and were used later are kept. Transcripts outside the state directory are copied.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportParams {
    /// The file, an absolute path on the gateway's machine.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
    /// Whose sessions they are; if absent its place says so (`agents/<id>/sessions/sessions.json`), else they are the default agent's.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub agent_id: Option<String>,
}

/// What was taken.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportReply {
    /// Always true.
    pub ok: bool,
    /// The file.
    pub path: String,
    /// How many sessions it holds.
    pub found: usize,
    /// How many were taken.
    pub imported: usize,
    /// What was left out or changed, one line each.
    pub problems: Vec<String>,
}

/// `sessions.import`.
pub struct Import;

impl Method for Import {
    const NAME: &'static str = "sessions.import";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    type Params = ImportParams;
    type Output = ImportReply;

    async fn call(cx: Call, params: ImportParams) -> Result<ImportReply, RpcError> {
        let path = PathBuf::from(&params.path);
        let refuse = |text: String| RpcError::invalid(text).with_code("IMPORT_FAILED");
        if !path.is_absolute() {
            return Err(refuse("the path must be absolute: it is one of the gateway's machine".to_owned()));
        }
        let agent = params.agent_id.map(|agent| agent.trim().to_lowercase());
        if let Some(agent) = agent.as_deref().filter(|agent| !crate::sessions::key::valid_agent_id(agent)) {
            return Err(refuse(format!("\"{}\" is no agent id", crate::protocol::frame::short(agent))));
        }
        let imported = cx.gateway.import_sessions(path, agent.map(AgentId)).await.map_err(|error| match error {
            NotImported::File(cause) => refuse(cause),
            NotImported::Store(error) => error.into(),
        })?;
        Ok(ImportReply { ok: true, path: params.path, found: imported.found, imported: imported.taken, problems: imported.problems })
    }
}
