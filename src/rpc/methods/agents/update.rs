//! `agents.update`: another name, workspace, model or picture for an agent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::change::{edit, in_effect, introduce, not_found};
use super::create::{place, prepare};
use crate::protocol::error::RpcError;
use crate::protocol::ids::AgentId;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Change an agent. What is absent stays. It is written into the configuration and acts at once; a new workspace is made and gets the usual files where they are missing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateParams {
    /// The agent.
    #[schemars(length(min = 1))]
    pub agent_id: String,
    /// Its new name.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub name: Option<String>,
    /// Its new directory.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096))]
    pub workspace: Option<String>,
    /// Its new model, `provider/model`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 512))]
    pub model: Option<String>,
    /// Its new picture: an address, an image in its workspace, or a few letters.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    pub avatar: Option<String>,
}

/// It is changed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateReply {
    /// Always true.
    pub ok: bool,
    /// The agent.
    pub agent_id: AgentId,
}

/// `agents.update`.
pub struct Update;

impl Method for Update {
    const NAME: &'static str = "agents.update";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Configures;
    type Params = UpdateParams;
    type Output = UpdateReply;

    async fn call(cx: Call, params: UpdateParams) -> Result<UpdateReply, RpcError> {
        let id = params.agent_id.trim().to_lowercase();
        let reply = UpdateReply { ok: true, agent_id: AgentId(id.clone()) };
        in_effect(&cx, move |sources| {
            let (workspace, pictured) = edit(sources, |list| {
                let settings = list.loaded.config.agent(Some(&id)).filter(|_| list.has(&id)).ok_or_else(|| not_found(&id))?;
                let paths = &list.loaded.paths;
                let workspace = match &params.workspace {
                    None => settings.workspace,
                    Some(given) => {
                        let workspace = place(given.trim(), &paths.state_dir, &paths.home);
                        prepare(&workspace, list.loaded.config.agents.defaults.skip_bootstrap != Some(true))?;
                        workspace
                    }
                };
                let patch = patch_of(&params, settings.identity.name.is_some(), settings.identity.avatar.is_some());
                Ok((list.merged(&id, patch), (workspace, settings.identity.avatar.is_some())))
            })?;
            match &params.avatar {
                // Where the configuration names a picture, the file would not be looked at.
                Some(avatar) if !pictured => {
                    crate::workspace::seed::make(&workspace).map_err(|error| {
                        RpcError::unavailable(format!("the workspace {} cannot be used: {error}", workspace.display()), error)
                    })?;
                    introduce(&workspace, &[("Avatar", Some(avatar))])
                }
                _ => Ok(()),
            }
        })
        .await?;
        Ok(reply)
    }
}

/// The change of the agent's entry. A name or a picture that the entry has under `identity` is changed there too, because it is looked at first.
fn patch_of(params: &UpdateParams, named: bool, pictured: bool) -> Value {
    let mut patch = Map::new();
    let mut set = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            patch.insert(key.to_owned(), json!(value.trim()));
        }
    };
    set("name", &params.name);
    set("workspace", &params.workspace);
    set("model", &params.model);
    let mut identity = Map::new();
    for (key, value, wanted) in [("name", &params.name, named), ("avatar", &params.avatar, pictured)] {
        if let (Some(value), true) = (value, wanted) {
            identity.insert(key.to_owned(), json!(value.trim()));
        }
    }
    if !identity.is_empty() {
        patch.insert("identity".to_owned(), Value::Object(identity));
    }
    Value::Object(patch)
}
