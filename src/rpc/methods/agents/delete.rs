//! `agents.delete`: take an agent away, and put its files aside.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

use super::change::{List, Plan, edit, in_effect, not_found};
use crate::config::key_path::KeyPath;
use crate::config::layers::Sources;
use crate::config::paths::private_dir;
use crate::config::resolve::MAIN_AGENT;
use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Delete an agent and the bindings to it. With `deleteFiles` its workspace and its own state are moved to `<state>/trash`; a directory that another agent uses too, or that holds more than an agent's files, stays where it is. The agent `main` cannot be deleted, and one with a run at work not before that has ended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteParams {
    /// The agent.
    #[schemars(length(min = 1))]
    pub agent_id: String,
    /// Whether its files are put aside; true if absent.
    #[serde(default)]
    pub delete_files: Option<bool>,
}

/// It is gone.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteReply {
    /// Always true.
    pub ok: bool,
    /// The agent.
    pub agent_id: AgentId,
    /// How many bindings to it were removed.
    pub removed_bindings: usize,
    /// Where its directories are now.
    pub trashed: Vec<String>,
}

/// `agents.delete`.
pub struct Delete;

impl Method for Delete {
    const NAME: &'static str = "agents.delete";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = DeleteParams;
    type Output = DeleteReply;

    async fn call(cx: Call, params: DeleteParams) -> Result<DeleteReply, RpcError> {
        let id = params.agent_id.trim().to_lowercase();
        if id == MAIN_AGENT {
            return Err(RpcError::invalid("\"main\" cannot be deleted").with_code("AGENT_RESERVED"));
        }
        if cx.gateway.runs.hosted().iter().any(|run| run.agent_id.as_str() == id) {
            let text = format!("agent \"{id}\" has a run at work; abort it or wait for its end");
            return Err(RpcError::try_again(text, 1000).with_code("AGENT_BUSY"));
        }
        let (agent_id, now) = (AgentId(id.clone()), cx.gateway.now());
        let (removed_bindings, trashed) = in_effect(&cx, move |sources| {
            let bindings = unbind(sources, &id)?;
            let directories = edit(sources, |list| {
                let at = list.position(&id).ok_or_else(|| not_found(&id))?;
                Ok((Plan::Entry(at, Value::Null), directories(list, at)))
            })?;
            let state = directories.0;
            let moved = if params.delete_files == Some(false) { Vec::new() } else { put_aside(&state, &id, &directories.1, now) };
            Ok((bindings, moved))
        })
        .await?;
        Ok(DeleteReply { ok: true, agent_id, removed_bindings, trashed })
    }
}

/// Removes the bindings to an agent that is there. Returns how many there were.
fn unbind(sources: &Sources, id: &str) -> Result<usize, RpcError> {
    let kept = |list: &List| {
        let all = list.loaded.config.bindings.as_ref().map(|bindings| bindings.0.clone()).unwrap_or_default();
        let others: Vec<Value> = all.iter().filter(|binding| !is_of(binding, id)).cloned().collect();
        (all.len() - others.len(), others)
    };
    edit(sources, |list| {
        list.position(id).ok_or_else(|| not_found(id))?;
        let (removed, others) = kept(list);
        // An empty patch changes no byte.
        let plan = if removed == 0 { (KeyPath::default(), json!({})) } else { (KeyPath::parse("bindings"), json!(others)) };
        Ok((Plan::At(plan.0, plan.1), removed))
    })
}

fn is_of(binding: &Value, id: &str) -> bool {
    binding.get("agentId").and_then(Value::as_str).is_some_and(|agent| agent.eq_ignore_ascii_case(id))
}

/// The state directory, and the directories that are only the agent's.
fn directories(list: &List, at: usize) -> (PathBuf, Vec<PathBuf>) {
    let (config, paths) = (&list.loaded.config, &list.loaded.paths);
    let id = list.entries().get(at).map(|agent| agent.id.to_lowercase()).unwrap_or_default();
    let workspace = config.agent(Some(&id)).map(|agent| agent.workspace);
    let of_others: Vec<PathBuf> = config
        .agent_ids()
        .iter()
        .filter(|other| **other != id)
        .filter_map(|other| config.agent(Some(other)))
        .map(|agent| agent.workspace)
        .collect();
    let own_state = paths.state_dir.join("agents").join(&id);
    let kept = |directory: &Path| {
        let holds_more = [&paths.state_dir, &paths.home, &paths.config_path].iter().any(|place| place.starts_with(directory));
        holds_more || of_others.iter().any(|other| other.starts_with(directory) || directory.starts_with(other))
    };
    let own = workspace.into_iter().chain([own_state]).filter(|directory| !kept(directory));
    (paths.state_dir.clone(), own.collect())
}

/// Moves directories to the trash. One that cannot be moved stays, and the log says so: the agent is gone all the same.
fn put_aside(state: &Path, id: &str, directories: &[PathBuf], now: u64) -> Vec<String> {
    let trash = state.join("trash").join(format!("{id}-{now}"));
    let mut moved = Vec::new();
    for (n, directory) in directories.iter().enumerate() {
        if !directory.is_dir() {
            continue;
        }
        let name = if n == 0 { "workspace" } else { "agent" };
        let target = trash.join(name);
        match private_dir(&trash).and_then(|()| std::fs::rename(directory, &target)) {
            Ok(()) => moved.push(target.display().to_string()),
            Err(cause) => warn!(agent = id, directory = %directory.display(), %cause, "files of a deleted agent stay where they are"),
        }
    }
    moved
}
