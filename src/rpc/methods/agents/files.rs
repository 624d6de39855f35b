//! `agents.files.*`: the files of instructions in an agent's workspace.

use std::io;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::Gateway;
use crate::gateway::agents::Agent;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};
use crate::workspace::files::{self, MAX_BYTES, WorkspaceFile};

/// List the files of instructions of an agent: those that every workspace may have, whether they are there or not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListParams {
    /// The agent.
    #[schemars(length(min = 1))]
    pub agent_id: String,
}

/// The files.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListReply {
    /// The agent.
    pub agent_id: AgentId,
    /// Its workspace.
    pub workspace: String,
    /// One row each.
    pub files: Vec<FileRow>,
}

/// One file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileRow {
    /// Its name.
    pub name: &'static str,
    /// Its path.
    pub path: String,
    /// Whether it is not there. Something else than a plain file, such as a link, counts as not there.
    pub missing: bool,
    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was changed, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at_ms: Option<u64>,
    /// Its text, in the answer of `agents.files.get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// Read a file of instructions. Links are not followed, and a file may have at most 1 MiB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetParams {
    /// The agent.
    #[schemars(length(min = 1))]
    pub agent_id: String,
    /// The file, one of those that `agents.files.list` names.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// The file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetReply {
    /// The agent.
    pub agent_id: AgentId,
    /// Its workspace.
    pub workspace: String,
    /// The file and its text.
    pub file: FileRow,
}

/// Write a file of instructions, whole or not at all. Links are not followed, and a file may have at most 1 MiB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetParams {
    /// The agent.
    #[schemars(length(min = 1))]
    pub agent_id: String,
    /// The file, one of those that `agents.files.list` names.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its new text.
    pub content: String,
}

/// It is on the disk.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetReply {
    /// Always true.
    pub ok: bool,
    /// The agent.
    pub agent_id: AgentId,
    /// Its workspace.
    pub workspace: String,
    /// The file as it is now, with its text.
    pub file: FileRow,
}

/// `agents.files.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "agents.files.list";
    const SCOPE: Scope = Scope::Admin;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, params: ListParams) -> Result<ListReply, RpcError> {
        let agent = agent(&cx.gateway, &params.agent_id)?;
        let workspace = agent.workspace.clone();
        let files = blocking(move || Ok(files::list(&workspace))).await?;
        let rows = files.into_iter().map(|file| row(file, None)).collect();
        Ok(ListReply { workspace: agent.workspace.display().to_string(), agent_id: agent.id.clone(), files: rows })
    }
}

/// `agents.files.get`.
pub struct Get;

impl Method for Get {
    const NAME: &'static str = "agents.files.get";
    const SCOPE: Scope = Scope::Admin;
    type Params = GetParams;
    type Output = GetReply;

    async fn call(cx: Call, params: GetParams) -> Result<GetReply, RpcError> {
        let agent = agent(&cx.gateway, &params.agent_id)?;
        let name = named(&params.name)?;
        let workspace = agent.workspace.clone();
        let (file, text) = blocking(move || files::get(&workspace, name).map_err(|error| refused(name, "read", &error))).await?;
        Ok(GetReply { workspace: agent.workspace.display().to_string(), agent_id: agent.id.clone(), file: row(file, text) })
    }
}

/// `agents.files.set`.
pub struct Set;

impl Method for Set {
    const NAME: &'static str = "agents.files.set";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = SetParams;
    type Output = SetReply;

    async fn call(cx: Call, params: SetParams) -> Result<SetReply, RpcError> {
        let agent = agent(&cx.gateway, &params.agent_id)?;
        let name = named(&params.name)?;
        if params.content.len() as u64 > MAX_BYTES {
            let text = format!("invalid agents.files.set params: at /content: must not be longer than {MAX_BYTES} bytes");
            return Err(RpcError::invalid(text));
        }
        let (workspace, content) = (agent.workspace.clone(), params.content);
        let (file, content) = blocking(move || match files::set(&workspace, name, &content) {
            Ok(file) => Ok((file, content)),
            Err(error) => Err(refused(name, "written", &error)),
        })
        .await?;
        Ok(SetReply {
            ok: true,
            workspace: agent.workspace.display().to_string(),
            agent_id: agent.id.clone(),
            file: row(file, Some(content)),
        })
    }
}

/// The agent of this id, in any case.
fn agent(gateway: &Gateway, id: &str) -> Result<Arc<Agent>, RpcError> {
    let agents = gateway.agents();
    let found = agents.get(&id.trim().to_lowercase());
    found.map(Arc::clone).ok_or_else(|| RpcError::invalid("unknown agent id").with_code("AGENT_NOT_FOUND"))
}

fn named(name: &str) -> Result<&'static str, RpcError> {
    files::known(name.trim())
        .ok_or_else(|| RpcError::invalid(format!("unsupported file \"{}\"", short(name))).with_code("UNSUPPORTED_FILE"))
}

fn refused(name: &str, what: &str, error: &io::Error) -> RpcError {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge => RpcError::invalid(format!("{name} {error}")).with_code("FILE_REFUSED"),
        _ => RpcError::unavailable(format!("{name} could not be {what}: {error}"), error),
    }
}

fn row(file: WorkspaceFile, content: Option<String>) -> FileRow {
    FileRow {
        name: file.name,
        path: file.path.display().to_string(),
        missing: file.facts.is_none(),
        size: file.facts.map(|facts| facts.size),
        updated_at_ms: file.facts.map(|facts| facts.updated_at_ms),
        content,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RpcError> + Send + 'static) -> Result<T, RpcError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| RpcError::unavailable("the workspace could not be used", error))?
}
