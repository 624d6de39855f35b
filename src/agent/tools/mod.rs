//! The tools: what a model may call, one row each, and how a call is run.

pub(super) mod apply_patch;
pub(super) mod bound;
pub(super) mod edit;
pub(super) mod exec;
pub(super) mod files;
pub(super) mod hunks;
pub(super) mod process;
pub(super) mod read;
mod sessions;
pub(super) mod web_fetch;
pub(super) mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::commands::Commands;
use super::host::Host;
use super::mcp::Mcp;
use super::spec::AgentSpec;
use crate::config::tool_policy::permits;
use crate::model::{Block, ToolSpec};
use files::Files;

/// What tools work with.
pub(super) struct Context {
    /// The turn.
    pub spec: AgentSpec,
    /// The outside.
    pub host: Arc<dyn Host>,
    /// Files, within the rules.
    pub files: Files,
    /// Commands that run.
    pub commands: Commands,
    /// Tools of servers.
    pub mcp: Mcp,
}

/// One call of a tool.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Its id.
    pub id: String,
    /// Its arguments.
    pub input: Value,
}

impl Call {
    /// The arguments in the form that a tool wants.
    ///
    /// # Errors
    /// A text for the model that says what is wrong.
    fn arguments<T: DeserializeOwned>(&self) -> Result<T, Given> {
        serde_json::from_value(self.input.clone()).map_err(|error| Given::error(format!("Wrong arguments: {error}.")))
    }
}

/// What a tool gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given {
    /// Text and pictures.
    pub content: Vec<Block>,
    /// Whether it failed.
    pub is_error: bool,
    /// Exit code of its command.
    pub exit_code: Option<i32>,
    /// Name of the signal that ended its command.
    pub signal: Option<String>,
}

impl Given {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: vec![Block::Text { text: text.into() }], ..Self::default() }
    }

    /// A failure, in words for the model: what was wrong, where, what to do.
    pub fn error(text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::text(text) }
    }

    /// Its words; a picture stands as one.
    pub fn words(&self) -> String {
        let words = self.content.iter().map(|block| match block {
            Block::Text { text } => text.clone(),
            Block::Image { mime_type, .. } => format!("[{mime_type}]"),
            _ => String::new(),
        });
        words.collect::<Vec<_>>().join("\n")
    }
}

/// The future of a call.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Given> + Send + 'a>>;

/// A tool.
pub(super) struct Tool {
    /// Its name.
    pub name: &'static str,
    /// The group by which rules name it.
    group: &'static str,
    /// Whether it changes nothing, so that several may run at once.
    pub reads_only: bool,
    /// Whether it makes sense in this turn at all.
    offered: fn(&AgentSpec) -> bool,
    /// What the model is told of it.
    describe: fn(&AgentSpec) -> (&'static str, Value),
    /// Its arguments as people are shown them.
    pub shown: fn(&Context, &Value) -> Value,
    /// Runs a call.
    pub run: fn(Arc<Context>, Call) -> Running<'static>,
}

/// Every tool.
static TOOLS: [Tool; 12] = [
    read::TOOL,
    write::TOOL,
    edit::TOOL,
    apply_patch::TOOL,
    exec::TOOL,
    process::TOOL,
    web_fetch::TOOL,
    sessions::LIST,
    sessions::HISTORY,
    sessions::SEND,
    sessions::SPAWN,
    sessions::AGENTS,
];

/// The tools of a turn: those that make sense and that the rules permit.
pub(super) fn offered(spec: &AgentSpec) -> Vec<&'static Tool> {
    let layers = spec.tools.rules();
    let permitted = |tool: &&Tool| layers.iter().all(|rules| permits(*rules, tool.name, tool.group));
    TOOLS.iter().filter(|tool| (tool.offered)(spec)).filter(permitted).collect()
}

/// What the model is told of a tool.
pub(super) fn described(tool: &Tool, spec: &AgentSpec) -> ToolSpec {
    let (description, schema) = (tool.describe)(spec);
    ToolSpec { name: tool.name.to_owned(), description: description.to_owned(), schema }
}

/// As they are.
fn plain(_: &Context, input: &Value) -> Value {
    input.clone()
}

/// Of every turn.
fn always(_: &AgentSpec) -> bool {
    true
}

/// Where files may be written.
fn writes(spec: &AgentSpec) -> bool {
    !spec.files.read_only
}
