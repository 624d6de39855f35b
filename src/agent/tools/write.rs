//! The tool `write`: a whole file.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Context, Given, Tool, plain, writes};
use crate::agent::spec::AgentSpec;

/// The row.
pub(super) const TOOL: Tool = Tool {
    name: "write",
    group: "group:fs",
    reads_only: false,
    offered: writes,
    describe,
    shown: plain,
    run: |context, call| Box::pin(run(context, call)),
};

#[derive(Deserialize)]
struct Arguments {
    path: String,
    content: String,
}

fn describe(_: &AgentSpec) -> (&'static str, Value) {
    let text = "Write a whole file, in place of what is there; folders are made as needed. To change a part of a file use edit. Paths are relative to the workspace.";
    let schema = json!({
        "type": "object",
        "properties": {
            "path": { "type": "string", "description": "Path of the file" },
            "content": { "type": "string", "description": "All of its new text" },
        },
        "required": ["path", "content"],
    });
    (text, schema)
}

async fn run(context: Arc<Context>, call: Call) -> Given {
    match call.arguments::<Arguments>() {
        Ok(Arguments { path, content }) => match context.files.write(&path, content.as_bytes()) {
            Ok(()) => Given::text(format!("Wrote {} bytes to {path}.", content.len())),
            Err(wrong) => Given::error(wrong),
        },
        Err(wrong) => wrong,
    }
}
