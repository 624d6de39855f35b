//! Servers of the Model Context Protocol, for one turn: started or reached at its begin, their tools offered to the model, ended with it.
//!
//! A client of ours speaks the few messages that tools need, over the same pipes and lines as with agent programs: the crate for it would bring its own way to start processes, and here none is started outside of the run's isolation.
//! A server that fails is a warning and its calls are failed results; the turn goes on.

mod http;
mod names;
mod results;
mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::tools::Given;
use crate::config::secret::Secret;
use crate::config::tool_policy::{Rules, permits};
use crate::exec::program::Talking;
use crate::model::ToolSpec;
use crate::model::endpoint::written_map;
use crate::tasks::Tasks;
use names::tool_name;
use server::Link;

/// How long a server may take to be ready and to name its tools.
const BEGIN: Duration = Duration::from_secs(20);
/// How long all servers may take to end.
const END: Duration = Duration::from_secs(4);
/// Most tools of one server, and of all.
const MOST_OF_ONE: usize = 128;
const MOST: usize = 256;
/// Most bytes of the JSON schema of one tool, and of its description.
const SCHEMA: usize = 16 << 10;
const DESCRIPTION: usize = 2 << 10;
/// The group by which rules name all of them.
const GROUP: &str = "group:mcp";

/// A server, complete. Its secrets are written out only for the private stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub way: Way,
    /// Time limit of one call, ms.
    pub timeout_ms: u64,
    /// Only these of its tools, by its own names; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Never these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Way {
    /// It is started, and spoken with over its pipes.
    Command {
        /// Program and arguments.
        words: Vec<String>,
        /// Variables besides those of the run's commands.
        #[serde(with = "written_map")]
        env: BTreeMap<String, Secret<String>>,
        /// The folder to run in; the run's own if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<PathBuf>,
    },
    /// By streamable HTTP.
    Http {
        /// Its address.
        url: String,
        /// Sent with every request.
        #[serde(with = "written_map")]
        headers: BTreeMap<String, Secret<String>>,
    },
}

impl Server {
    /// Its secrets, which stand in nothing that is told.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let (Way::Command { env: secrets, .. } | Way::Http { headers: secrets, .. }) = &self.way;
        secrets.values().map(|secret| secret.expose().as_str())
    }
}

/// Who starts servers and is told what goes wrong with them.
pub trait Starter: Send + Sync {
    /// Starts the program of a server inside the run's isolation.
    ///
    /// # Errors
    /// One line: why not.
    fn start(&self, words: &[String], env: &BTreeMap<String, Secret<String>>, cwd: Option<&PathBuf>) -> Result<Talking, String>;

    /// Tells people of a failure; the turn goes on.
    fn warn(&self, text: String);
}

/// A tool of a server.
struct Remote {
    name: String,
    /// Its name at the server.
    own_name: String,
    description: String,
    schema: Value,
    link: Arc<Link>,
}

/// The servers of a turn.
#[derive(Default)]
pub struct Mcp {
    tools: Vec<Remote>,
    tasks: Tasks,
}

impl Mcp {
    /// Starts all servers at once and asks each for its tools; who is not ready in time, or fails, is left out with a warning. `layers` are the rules of the turn.
    pub async fn begin(servers: Vec<Server>, layers: &[Rules<'_>], starter: &Arc<dyn Starter>, stop: &CancellationToken) -> Self {
        let tasks = Tasks::new();
        let links: Vec<_> = servers.into_iter().map(|server| Arc::new(Link::new(server, Arc::clone(starter), tasks.clone()))).collect();
        let mut asked = Vec::new();
        for link in &links {
            let (sender, answer) = tokio::sync::oneshot::channel();
            let (link, gone) = (Arc::clone(link), stop.clone());
            let of = Arc::clone(&link);
            tasks.spawn("mcp.begin", async move {
                let tools = tokio::select! {
                    tools = tokio::time::timeout(BEGIN, link.tools(MOST_OF_ONE, BEGIN)) => tools.unwrap_or_else(|_| Err(format!("was not ready within {} s", BEGIN.as_secs()))),
                    () = gone.cancelled() => Err("was not waited for".to_owned()),
                };
                // Who asked waits for it, unless the turn is over.
                let _ = sender.send(tools);
            });
            asked.push((of, answer));
        }
        let mut mcp = Self { tools: Vec::new(), tasks };
        for (link, answer) in asked {
            match answer.await.unwrap_or_else(|_| Err("failed inside".to_owned())) {
                Ok(tools) => mcp.take(&link, tools, layers),
                Err(why) if stop.is_cancelled() => drop(why),
                Err(why) => link.warn(&why),
            }
        }
        mcp
    }

    /// Adds the tools of a server that the rules permit.
    fn take(&mut self, link: &Arc<Link>, tools: Vec<Value>, layers: &[Rules<'_>]) {
        let mut left_out = 0;
        for tool in tools {
            let text = |key: &str| tool.get(key).and_then(Value::as_str);
            let Some(own_name) = text("name").filter(|name| !name.is_empty()) else { continue };
            let server = link.server();
            let own = Rules { allow: server.allow.as_deref(), deny: server.deny.as_deref(), ..Rules::default() };
            let name = tool_name(&server.name, own_name);
            if !permits(own, &own_name.to_lowercase(), "") || !layers.iter().all(|rules| permits(*rules, &name.to_lowercase(), GROUP)) {
                continue;
            }
            let schema = tool.get("inputSchema").filter(|schema| schema.get("type").is_some_and(|kind| kind == "object"));
            let schema = schema.cloned().unwrap_or_else(|| json!({ "type": "object" }));
            if self.tools.len() >= MOST || schema.to_string().len() > SCHEMA || self.find(&name).is_some() {
                left_out += 1;
                continue;
            }
            let text = text("description").or_else(|| text("title")).unwrap_or(own_name);
            let description = text.get(..text.floor_char_boundary(DESCRIPTION)).unwrap_or_default().to_owned();
            self.tools.push(Remote { own_name: own_name.to_owned(), name, description, schema, link: Arc::clone(link) });
        }
        if left_out > 0 {
            link.warn(&format!("{left_out} of its tools are left out: too many, too large, or with the name of another one"));
        }
    }

    /// What the model is told of them.
    pub(super) fn described(&self) -> impl Iterator<Item = ToolSpec> {
        self.tools.iter().map(|tool| ToolSpec {
            name: tool.name.clone(),
            description: tool.description.clone(),
            schema: tool.schema.clone(),
        })
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|tool| tool.name.as_str())
    }

    fn find(&self, name: &str) -> Option<&Remote> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// Calls a tool; none if there is none of this name.
    pub(super) async fn call(&self, name: &str, input: &Value, stop: &CancellationToken) -> Option<Given> {
        let tool = self.find(name)?;
        let asked = tool.link.call(json!({ "name": tool.own_name, "arguments": input }));
        let given = tokio::select! {
            given = asked => given,
            () = stop.cancelled() => return Some(Given::error("Cancelled.")),
        };
        Some(match given {
            Ok(result) => results::given(&result),
            Err(why) => Given::error(format!("The MCP server {} {why}.", tool.link.server().name)),
        })
    }

    /// Ends all servers and waits for it.
    pub async fn end(&self) {
        self.tasks.stop(END).await;
    }
}
