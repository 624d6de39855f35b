//! The tool `apply_patch`: changes in several files at once. All are worked out before the first is written.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::files::Files;
use super::hunks::{Change, apply, parse};
use super::{Call, Context, Given, Tool, plain, writes};
use crate::agent::spec::AgentSpec;

/// The row.
pub(super) const TOOL: Tool = Tool {
    name: "apply_patch",
    group: "group:fs",
    reads_only: false,
    offered: |spec| spec.tools.apply_patch && writes(spec),
    describe,
    shown: plain,
    run: |context, call| Box::pin(run(context, call)),
};

#[derive(Deserialize)]
struct Arguments {
    #[serde(alias = "patch")]
    input: String,
}

fn describe(_: &AgentSpec) -> (&'static str, Value) {
    let text = "Change several files with one patch:\n*** Begin Patch\n*** Update File: path (then perhaps `*** Move to: path`)\n@@ a line above the place\n same line\n-old line\n+new line\n*** Add File: path\n+line\n*** Delete File: path\n*** End Patch\nPaths are relative to the workspace. If a part does not fit, nothing is changed.";
    let schema = json!({
        "type": "object",
        "properties": { "input": { "type": "string", "description": "The whole patch" } },
        "required": ["input"],
    });
    (text, schema)
}

async fn run(context: Arc<Context>, call: Call) -> Given {
    let done = call.arguments::<Arguments>().and_then(|Arguments { input }| patch(&context.files, &input).map_err(Given::error));
    done.map_or_else(|wrong| wrong, Given::text)
}

/// What is to be done with a file.
enum Step {
    Write(String, String),
    Remove(String),
}

fn patch(files: &Files, input: &str) -> Result<String, String> {
    let changes = parse(input)?;
    let (mut steps, mut said) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Add(path, _) if files.exists(&path) => return Err(format!("{path} is there already; nothing was changed.")),
            Change::Add(path, text) => {
                said.push(format!("A {path}"));
                steps.push(Step::Write(path, text));
            }
            Change::Delete(path) => {
                files.read(&path).map_err(|wrong| format!("{wrong} Nothing was changed."))?;
                said.push(format!("D {path}"));
                steps.push(Step::Remove(path));
            }
            Change::Update { path, to, hunks } => {
                let bytes = files.read(&path).map_err(|wrong| format!("{wrong} Nothing was changed."))?;
                let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8 text; nothing was changed."))?;
                let text = apply(&text, &hunks).map_err(|wrong| format!("{path}: {wrong}\nNothing was changed."))?;
                match to {
                    Some(to) if to != path => {
                        said.push(format!("M {path} -> {to}"));
                        steps.extend([Step::Write(to, text), Step::Remove(path)]);
                    }
                    _ => {
                        said.push(format!("M {path}"));
                        steps.push(Step::Write(path, text));
                    }
                }
            }
        }
    }
    for (done, step) in steps.iter().enumerate() {
        let taken = match step {
            Step::Write(path, text) => files.write(path, text.as_bytes()),
            Step::Remove(path) => files.remove(path),
        };
        taken.map_err(|wrong| format!("{wrong} {done} of {} steps were done before.", steps.len()))?;
    }
    Ok(format!("Done:\n{}", said.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::spec;

    #[test]
    fn a_patch_is_done_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "one\ntwo\n").unwrap();
        std::fs::write(dir.path().join("b"), "x\n").unwrap();
        let files = Files::new(&spec(dir.path()));
        let wrong = "*** Begin Patch\n*** Update File: a\n-one\n+1\n*** Update File: b\n-y\n+z\n*** End Patch";
        assert!(patch(&files, wrong).unwrap_err().ends_with("Nothing was changed."));
        assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "one\ntwo\n");
        let right =
            "*** Begin Patch\n*** Update File: a\n*** Move to: c/d\n-one\n+1\n*** Delete File: b\n*** Add File: e\n+é\n*** End Patch";
        assert_eq!(patch(&files, right).unwrap(), "Done:\nM a -> c/d\nD b\nA e");
        assert_eq!(std::fs::read_to_string(dir.path().join("c/d")).unwrap(), "1\ntwo\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("e")).unwrap(), "é\n");
        assert!(!dir.path().join("a").exists() && !dir.path().join("b").exists());
        assert!(patch(&files, "*** Begin Patch\n*** Add File: e\n+x\n*** End Patch").unwrap_err().contains("there already"));
    }
}
