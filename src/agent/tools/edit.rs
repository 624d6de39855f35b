//! The tool `edit`: one exact text in a file for another.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Context, Given, Tool, plain, writes};
use crate::agent::spec::AgentSpec;

/// The row.
pub(super) const TOOL: Tool = Tool {
    name: "edit",
    group: "group:fs",
    reads_only: false,
    offered: writes,
    describe,
    shown: plain,
    run: |context, call| Box::pin(run(context, call)),
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    path: String,
    #[serde(alias = "old_text", alias = "old_string")]
    old_text: String,
    #[serde(alias = "new_text", alias = "new_string")]
    new_text: String,
    #[serde(default, alias = "replace_all")]
    replace_all: bool,
}

fn describe(_: &AgentSpec) -> (&'static str, Value) {
    let text = "Put a new text in place of an old one in a file. The old text must stand there exactly, with its spaces and line breaks, and only once: give enough lines around it. Paths are relative to the workspace.";
    let schema = json!({
        "type": "object",
        "properties": {
            "path": { "type": "string", "description": "Path of the file" },
            "oldText": { "type": "string", "description": "The exact text that is there, without line numbers" },
            "newText": { "type": "string", "description": "What is to stand there" },
            "replaceAll": { "type": "boolean", "description": "Replace it everywhere it stands" },
        },
        "required": ["path", "oldText", "newText"],
    });
    (text, schema)
}

async fn run(context: Arc<Context>, call: Call) -> Given {
    let arguments = match call.arguments::<Arguments>() {
        Ok(arguments) => arguments,
        Err(wrong) => return wrong,
    };
    let path = &arguments.path;
    let edited = context.files.read(path).and_then(|bytes| {
        let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8 text; change it with a command."))?;
        let (new, count) = replaced(&text, &arguments).map_err(|wrong| format!("{path}: {wrong}"))?;
        context.files.write(path, new.as_bytes())?;
        Ok(count)
    });
    match edited {
        Ok(1) => Given::text(format!("Edited {path}.")),
        Ok(count) => Given::text(format!("Edited {path} in {count} places.")),
        Err(wrong) => Given::error(wrong),
    }
}

/// The text with the change made, and in how many places.
fn replaced(text: &str, arguments: &Arguments) -> Result<(String, usize), String> {
    let (mut old, mut new) = (arguments.old_text.clone(), arguments.new_text.clone());
    if old.is_empty() {
        return Err("oldText is empty. To make a file or all of it anew use write.".to_owned());
    }
    // Models write line feeds; a file with the other ends of lines keeps them.
    if !text.contains(&old) && text.contains("\r\n") && !old.contains('\r') {
        (old, new) = (old.replace('\n', "\r\n"), new.replace('\n', "\r\n"));
    }
    if old == new {
        return Err("oldText and newText are the same; nothing to do.".to_owned());
    }
    match text.matches(&old).count() {
        0 => Err(missing(text, &arguments.old_text)),
        1 => Ok((text.replacen(&old, &new, 1), 1)),
        count if arguments.replace_all => Ok((text.replace(&old, &new), count)),
        count => {
            let lines: Vec<String> = text.match_indices(&old).take(5).map(|(at, _)| line_of(text, at).to_string()).collect();
            let more = if count > 5 { ", …" } else { "" };
            Err(format!(
                "oldText stands there {count} times (lines {}{more}). Give more of the text around it, or set replaceAll.",
                lines.join(", ")
            ))
        }
    }
}

/// What to say of a text that is not there: where something like it is.
fn missing(text: &str, old: &str) -> String {
    let first = old.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let near = text.lines().position(|line| !first.is_empty() && line.trim() == first);
    match near {
        Some(at) => format!(
            "oldText does not stand there exactly. Its first line is like line {}, so spaces, tabs or later lines differ. Read the file there and copy the text.",
            at + 1
        ),
        None => "oldText does not stand there. Read the file and copy the text exactly.".to_owned(),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(text: &str, old: &str, new: &str, replace_all: bool) -> Result<String, String> {
        let arguments = Arguments { path: "f".into(), old_text: old.into(), new_text: new.into(), replace_all };
        replaced(text, &arguments).map(|(text, _)| text)
    }

    #[test]
    fn the_old_text_must_stand_there_exactly_and_once() {
        assert_eq!(edit("a ä b", "ä", "ö", false).unwrap(), "a ö b");
        assert_eq!(edit("x\nx\n", "x", "y", true).unwrap(), "y\ny\n");
        assert!(edit("x\nx\n", "x", "y", false).unwrap_err().contains("2 times (lines 1, 2)"));
        assert!(edit("  x = 1\n", "x = 1\ny", "z", false).unwrap_err().contains("like line 1"));
        assert!(edit("a", "b", "c", false).unwrap_err().contains("does not stand there"));
        assert!(edit("a", "", "c", false).unwrap_err().contains("empty"));
        assert!(edit("a", "a", "a", false).unwrap_err().contains("the same"));
        assert_eq!(edit("a$1b", "a$1b", "$0", false).unwrap(), "$0");
    }

    #[test]
    fn a_file_with_other_ends_of_lines_keeps_them() {
        assert_eq!(edit("a\r\nb\r\nc\r\n", "a\nb", "a\nx\nb", false).unwrap(), "a\r\nx\r\nb\r\nc\r\n");
    }
}
