//! `agents.create`: another agent, with a workspace of its own.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::change::{edit, in_effect, introduce};
use crate::config::paths::expand_home;
use crate::config::resolve::MAIN_AGENT;
use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};
use crate::workspace::seed;

/// Longest id of an agent.
const MAX_ID: usize = 64;

/// Create an agent. It is written into the configuration and acts at once; its workspace is made, with the usual files of instructions where they are missing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateParams {
    /// Its name; the id is made from it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Its directory; `~` is the home directory, and a relative path begins at the state directory.
    #[schemars(length(min = 1, max = 4096))]
    pub workspace: String,
    /// A sign that stands for it.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub emoji: Option<String>,
    /// Its picture: an address, an image in its workspace, or a few letters.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub avatar: Option<String>,
}

/// The agent is there.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateReply {
    /// Always true.
    pub ok: bool,
    /// Its id.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub workspace: String,
}

/// `agents.create`.
pub struct Create;

impl Method for Create {
    const NAME: &'static str = "agents.create";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = CreateParams;
    type Output = CreateReply;

    async fn call(cx: Call, params: CreateParams) -> Result<CreateReply, RpcError> {
        let (name, given) = (params.name.trim().to_owned(), params.workspace.trim().to_owned());
        if given.is_empty() {
            return Err(RpcError::invalid("invalid agents.create params: at /workspace: must not be empty"));
        }
        let id = slug(&name).ok_or_else(|| {
            RpcError::invalid("invalid agents.create params: at /name: must hold a letter from a to z or a digit, of which the id is made")
        })?;
        if id == MAIN_AGENT {
            return Err(RpcError::invalid("\"main\" is reserved").with_code("AGENT_RESERVED"));
        }
        let loaded = cx.gateway.loaded();
        let workspace = place(&given, &loaded.paths.state_dir, &loaded.paths.home);
        let bootstrap = loaded.config.agents.defaults.skip_bootstrap != Some(true);
        let reply = CreateReply { ok: true, agent_id: AgentId(id.clone()), name: name.clone(), workspace: workspace.display().to_string() };
        in_effect(&cx, move |sources| {
            let entry = json!({ "id": id, "name": name, "workspace": given });
            // The workspace comes first: an agent without one could not work. It is made only for an agent that may be.
            edit(sources, |list| {
                if list.has(&id) {
                    return Err(RpcError::invalid(format!("agent \"{id}\" already exists")).with_code("AGENT_EXISTS"));
                }
                prepare(&workspace, bootstrap)?;
                Ok((list.added(entry.clone()), ()))
            })?;
            introduce(&workspace, &[("Name", Some(&name)), ("Emoji", params.emoji.as_deref()), ("Avatar", params.avatar.as_deref())])
        })
        .await?;
        Ok(reply)
    }
}

/// Makes a workspace, and the usual files in it if they are wanted.
///
/// # Errors
/// What the file system says.
pub fn prepare(workspace: &Path, bootstrap: bool) -> Result<(), RpcError> {
    let made = if bootstrap { seed::seed(workspace).map(drop) } else { seed::make(workspace) };
    made.map_err(|error| RpcError::unavailable(format!("the workspace {} cannot be used: {error}", workspace.display()), error))
}

/// Where a workspace is, as the configuration would read it.
#[must_use]
pub fn place(given: &str, state_dir: &Path, home: &Path) -> PathBuf {
    state_dir.join(expand_home(Path::new(given), home))
}

/// An id made from a name: small letters, digits, `-` and `_`; none if nothing is left.
fn slug(name: &str) -> Option<String> {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut id = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            c if keep(c) => id.push(c),
            _ if !id.ends_with('-') => id.push('-'),
            _ => {}
        }
    }
    let id = id.trim_start_matches(['-', '_']);
    let id = id.get(..MAX_ID.min(id.len()))?.trim_end_matches('-');
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_what_can_be_one() {
        for (name, id) in [
            ("Koi", Some("koi")),
            ("  My  Agent! 2", Some("my-agent-2")),
            ("_x_", Some("x_")),
            ("Ünï çode", Some("n-ode")),
            ("---", None),
            ("魚", None),
            ("", None),
        ] {
            assert_eq!(slug(name.trim()).as_deref(), id, "{name}");
        }
        let long = slug(&"a".repeat(200)).unwrap();
        assert!(long.len() == MAX_ID && crate::config::Config::is_agent_id(&long));
    }
}
