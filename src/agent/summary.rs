//! The summary that stands for the older part of a conversation: asked for at once or in parts, with what must not be forgotten beside it.

use std::collections::BTreeMap;

use super::conversation::user;
use super::gather::Ending;
use super::tools::bound::bounded;
use super::turn::Turn;
use crate::model::{Block, ErrorKind, Message, Role, StopReason};

/// Most bytes of one result in what is to be summarised, and of anything else there.
const RESULT_BYTES: usize = 2000;
const TEXT_BYTES: usize = 20_000;
/// Most bytes of the prompt that stands behind a summary.
const PROMPT_BYTES: usize = 8000;
/// Most parts; each is one request.
const PARTS: usize = 8;
/// Most changed files and failed calls that are named.
const FILES: usize = 40;
const FAILURES: usize = 8;
/// Most bytes of what a failed call said.
const FAILURE_BYTES: usize = 240;

const SUMMARISE: &str = "You write summaries of conversations between a user and an agent that works on a machine. \
The agent will go on with nothing but your summary and the newest messages. Write down, in the language of the conversation: \
what the user wants and has decided, in their words where they matter; what was done, with paths, commands and results; \
what was found out; what is open and what comes next. No greeting and no comment.";

/// Why there is no summary.
enum NoSummary {
    /// Another time there may be one.
    Now(String),
    /// The model will not give one of this.
    Never(String),
}

impl Turn {
    /// The summary of the first `cut` messages. With `by_wish` one that the model does not give is a failure in either mode.
    ///
    /// # Errors
    /// Why there is none; the conversation is to stay as it is.
    pub(super) async fn summary(&mut self, instructions: Option<&str>, cut: usize, by_wish: bool) -> Result<String, String> {
        let old = self.messages.get(..cut).unwrap_or_default();
        let in_parts = self.context.spec.compaction.in_parts;
        // Half the window in the shortest tokens: it fits whatever the language.
        let most = usize::try_from(self.context.spec.model.context_window).unwrap_or(usize::MAX);
        let parts = if in_parts { parts(old, most) } else { vec![bounded(&written(old), most)] };
        let facts = if in_parts { facts(old) } else { String::new() };
        let mut summary = String::new();
        for part in parts {
            let mut text = if summary.is_empty() {
                format!("Summarise this conversation.\n\n{part}")
            } else {
                format!(
                    "This is the summary of the conversation so far:\n\n{summary}\n\nThis is how it went on. Write one summary of both.\n\n{part}"
                )
            };
            if let Some(instructions) = instructions {
                text.push_str(&format!("\n\nThe user asks you to look after this: {instructions}"));
            }
            match self.part(text).await {
                Ok(whole) => summary = whole,
                Err(NoSummary::Never(why)) if in_parts && !by_wish => {
                    let joint = if summary.is_empty() { "" } else { "\n\n" };
                    summary.push_str(&format!("{joint}(What followed is left out, because it could not be summarised: {why}.)"));
                    break;
                }
                Err(NoSummary::Now(why) | NoSummary::Never(why)) => return Err(why),
            }
        }
        summary.push_str(&facts);
        let spec = &self.context.spec;
        let asked = written_blocks(&spec.prompt, PROMPT_BYTES);
        let is_gone = !self.messages.get(cut..).unwrap_or_default().iter().any(|message| message.content == spec.prompt);
        if !asked.is_empty() && is_gone {
            summary.push_str(&format!("\n\nWhat the user asked last, in their words:\n{asked}"));
        }
        Ok(summary)
    }

    async fn part(&mut self, text: String) -> Result<String, NoSummary> {
        let request = self.plain_request(SUMMARISE, &[user(text)]);
        let answer = self.ask_aside(request).await;
        let said = answer.text().trim().to_owned();
        match answer.ending {
            Ending::Stopped => Err(NoSummary::Now("aborted".to_owned())),
            Ending::Failed(error) if matches!(error.kind, ErrorKind::ContextLength | ErrorKind::Refusal) => {
                Err(NoSummary::Never(error.message))
            }
            Ending::Failed(error) => Err(NoSummary::Now(error.message)),
            Ending::Whole(StopReason::Refusal) => Err(NoSummary::Never("the model refused".to_owned())),
            Ending::Whole(_) if said.is_empty() => Err(NoSummary::Never("the model gave no summary".to_owned())),
            Ending::Whole(_) => Ok(said),
        }
    }
}

/// A conversation as texts of at most so many bytes, cut between messages; what is beyond the most parts is shortened in the last one.
fn parts(old: &[Message], most: usize) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for message in old {
        let text = bounded(&written(std::slice::from_ref(message)), most);
        let is_full = |part: &String| part.len() + text.len() + 2 > most;
        let may_begin = parts.len() < PARTS;
        match parts.last_mut() {
            Some(last) if !is_full(last) || !may_begin => {
                last.push_str("\n\n");
                last.push_str(&text);
            }
            _ => parts.push(text),
        }
    }
    if let Some(last) = parts.last_mut() {
        *last = bounded(last, most);
    }
    parts
}

/// Which files were changed and which calls failed, as the calls themselves say it.
fn facts(old: &[Message]) -> String {
    let (mut names, mut files, mut failures) = (BTreeMap::new(), Vec::new(), Vec::new());
    for block in old.iter().flat_map(|message| &message.content) {
        match block {
            Block::ToolUse { id, name, input } => {
                names.insert(id.as_str(), name.as_str());
                for path in changed(name, input) {
                    files.retain(|known| *known != path);
                    files.push(path);
                }
            }
            Block::ToolResult { id, content, is_error: true } => {
                let said = written_blocks(content, FAILURE_BYTES);
                let said = said.lines().next().unwrap_or_default();
                let said = said.get(..said.floor_char_boundary(FAILURE_BYTES)).unwrap_or(said);
                failures.push(format!("\n- {}: {said}", names.get(id.as_str()).copied().unwrap_or("a tool")));
            }
            _ => {}
        }
    }
    let mut text = String::new();
    if !files.is_empty() {
        let newest = files.split_off(files.len().saturating_sub(FILES));
        text.push_str(&format!("\n\nFiles that were written or changed: {}", newest.join(", ")));
    }
    if !failures.is_empty() {
        let newest = failures.split_off(failures.len().saturating_sub(FAILURES));
        text.push_str(&format!("\n\nCalls that failed:{}", newest.concat()));
    }
    text
}

/// The files that a call changes.
fn changed(name: &str, input: &serde_json::Value) -> Vec<String> {
    let text = |key: &str| input.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    match name {
        "write" | "edit" => Some(text("path").to_owned()).filter(|path| !path.is_empty()).into_iter().collect(),
        "apply_patch" => {
            let heads = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];
            let of = |line: &str| heads.iter().find_map(|head| line.strip_prefix(head)).map(|path| path.trim().to_owned());
            [text("input"), text("patch")].into_iter().flat_map(str::lines).filter_map(of).collect()
        }
        _ => Vec::new(),
    }
}

/// A conversation as text.
fn written(messages: &[Message]) -> String {
    let parts = messages.iter().map(|message| {
        let who = match message.role {
            Role::User => "User",
            Role::Assistant => "Agent",
        };
        format!("{who}: {}", written_blocks(&message.content, TEXT_BYTES))
    });
    parts.collect::<Vec<_>>().join("\n\n")
}

fn written_blocks(blocks: &[Block], most: usize) -> String {
    let parts = blocks.iter().filter_map(|block| match block {
        Block::Text { text } => Some(bounded(text, most)),
        Block::Image { mime_type, .. } => Some(format!("[{mime_type}]")),
        Block::Thinking { .. } | Block::Redacted { .. } => None,
        Block::ToolUse { name, input, .. } => Some(format!("[{name} {}]", bounded(&input.to_string(), RESULT_BYTES))),
        Block::ToolResult { content, is_error, .. } => {
            let kind = if *is_error { "failed" } else { "result" };
            Some(format!("[{kind}: {}]", bounded(&written_blocks(content, RESULT_BYTES), RESULT_BYTES)))
        }
    });
    parts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::conversation::result;
    use serde_json::json;

    fn call(id: &str, name: &str, input: serde_json::Value) -> Block {
        Block::ToolUse { id: id.into(), name: name.into(), input }
    }

    #[test]
    fn parts_end_between_messages_and_the_last_holds_the_rest() {
        let old: Vec<Message> = (0..30).map(|n| user(format!("{n:02}{}", "x".repeat(96)))).collect();
        let three = parts(&old, 1060);
        assert_eq!(three.len(), 3);
        assert!(three.iter().all(|part| part.len() <= 1060 && part.starts_with("User: ")), "{three:?}");
        assert_eq!(three.iter().map(|part| part.matches("User: ").count()).sum::<usize>(), 30);
        let many = parts(&old, 220);
        assert!(many.len() == PARTS && many.iter().all(|part| part.len() <= 400), "{many:?}");
        assert!(parts(&[], 100).is_empty());
    }

    #[test]
    fn changed_files_and_failed_calls_are_named_the_newest_of_them() {
        let old = [
            Message {
                role: Role::Assistant,
                content: vec![
                    call("a", "write", json!({ "path": "a.txt", "content": "x" })),
                    call("b", "apply_patch", json!({ "input": "*** Begin Patch\n*** Add File: b.txt\n+x\n*** End Patch" })),
                    call("c", "edit", json!({ "path": "a.txt" })),
                    call("d", "exec", json!({ "command": "make" })),
                ],
            },
            Message { role: Role::User, content: vec![result("a", "ok", false), result("d", "No rule\nsecond line", true)] },
        ];
        assert_eq!(facts(&old), "\n\nFiles that were written or changed: b.txt, a.txt\n\nCalls that failed:\n- exec: No rule");
        assert_eq!(facts(&old[1..][..0]), "");
    }
}
