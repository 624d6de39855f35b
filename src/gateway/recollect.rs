//! Between transcripts and models: messages as they stand in a transcript, and messages as a model says and is sent them.
//!
//! The results of the tools of one message are one message to a model, and an entry each in a transcript.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::minds::file_note;
use crate::model::{Block, Message, Role};
use crate::protocol::event::agent::Whole;
use crate::runs::brief::Remembered;
use crate::transcript::message;
use crate::transcript::recall::{Kept, Recall};

/// What stands before a summary when a model is sent it.
const SUMMARY: &str = "The conversation before this point was replaced by this summary:";

/// Messages of a model, and the files that they came with.
#[derive(Debug, Default, PartialEq)]
pub struct Recollection {
    /// The messages, oldest first.
    pub history: Vec<Remembered>,
    /// The files.
    pub files: Vec<PathBuf>,
}

/// What a model is sent of a conversation.
#[must_use]
pub fn of_transcript(recall: Recall) -> Recollection {
    let mut found = Recollection::default();
    let before = recall.before;
    let mut messages = recall.messages.into_iter();
    for message in messages.by_ref().take(before) {
        found.take(&message);
    }
    if let Some(Kept::Newest(count)) = recall.kept {
        let over = found.history.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        found.history.drain(..over);
    }
    if let Some(summary) = recall.summary.filter(|summary| !summary.trim().is_empty()) {
        let text = format!("{SUMMARY}\n\n{summary}");
        let at = found.history.first().map_or(0, |first| first.at);
        found.history.insert(0, Remembered { by: None, at, message: Message { role: Role::User, content: vec![Block::Text { text }] } });
    }
    for message in messages {
        found.take(&message);
    }
    found
}

impl Recollection {
    fn take(&mut self, message: &Value) {
        let content = match message.get("content") {
            Some(Value::String(text)) => vec![json!({ "type": "text", "text": text })],
            Some(Value::Array(blocks)) => blocks.clone(),
            _ => Vec::new(),
        };
        let at = message["timestamp"].as_u64().unwrap_or_default();
        match message::role(message) {
            "toolResult" => {
                let id = message["toolCallId"].as_str().unwrap_or_default().to_owned();
                let content = content.iter().filter_map(|block| self.block(block)).collect();
                let result = Block::ToolResult { id, content, is_error: message["isError"] == true };
                match self.history.last_mut() {
                    Some(last) if matches!(last.message.content.last(), Some(Block::ToolResult { .. })) => {
                        last.message.content.push(result);
                        last.at = last.at.max(at);
                    }
                    _ => self.history.push(Remembered { by: None, at, message: Message { role: Role::User, content: vec![result] } }),
                }
            }
            "user" => self.push(None, at, Role::User, &content),
            "assistant" => {
                let by = message["provider"].as_str().zip(message["model"].as_str()).map(|(provider, model)| format!("{provider}/{model}"));
                self.push(by, at, Role::Assistant, &content);
            }
            _ => {}
        }
    }

    fn push(&mut self, by: Option<String>, at: u64, role: Role, content: &[Value]) {
        let content: Vec<Block> = content.iter().filter_map(|block| self.block(block)).collect();
        if !content.is_empty() {
            self.history.push(Remembered { by, at, message: Message { role, content } });
        }
    }

    fn block(&mut self, block: &Value) -> Option<Block> {
        let text = |key: &str| block[key].as_str().map(str::to_owned);
        match block["type"].as_str()? {
            "text" => text("text").filter(|text| !text.trim().is_empty()).map(|text| Block::Text { text }),
            "thinking" if block["redacted"] == true => text("thinkingSignature").map(|data| Block::Redacted { data }),
            "thinking" => Some(Block::Thinking { text: text("thinking").unwrap_or_default(), signature: text("thinkingSignature") }),
            "toolCall" => Some(Block::ToolUse {
                id: text("id")?,
                name: text("name")?,
                input: if block["arguments"].is_object() { block["arguments"].clone() } else { json!({}) },
            }),
            "image" | "file" => {
                let mime_type = text("mimeType").unwrap_or_default();
                if let Some(data) = text("data") {
                    return Some(Block::Image { mime_type, data });
                }
                let path = PathBuf::from(text("media")?);
                let note = file_note(&text("fileName").unwrap_or_default(), &mime_type, Path::new(&path));
                self.files.push(path);
                Some(Block::Text { text: note })
            }
            _ => None,
        }
    }
}

/// A message of a run as entries of a transcript. `names` are the tools of the calls so far, by call.
#[must_use]
pub fn to_transcript(whole: &Whole, at: u64, names: &mut HashMap<String, String>) -> Vec<Value> {
    let Ok(message) = serde_json::from_value::<Message>(whole.message.clone()) else { return Vec::new() };
    match message.role {
        Role::Assistant => {
            for block in &message.content {
                if let Block::ToolUse { id, name, .. } = block {
                    names.insert(id.clone(), name.clone());
                }
            }
            vec![assistant(whole, &message.content, at)]
        }
        Role::User => message.content.iter().filter_map(|block| result(block, at, names).or_else(|| said(block, at))).collect(),
    }
}

/// What the user said while the run worked.
fn said(block: &Block, at: u64) -> Option<Value> {
    if let Block::Text { text } = block { Some(message::user(text, at)) } else { None }
}

fn assistant(whole: &Whole, content: &[Block], at: u64) -> Value {
    let usage = whole.usage.unwrap_or_default();
    let cost = usage.cost.unwrap_or_default();
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let mut message = json!({
        "role": "assistant",
        "content": content.iter().map(written).collect::<Vec<_>>(),
        "api": word(&whole.api),
        "provider": word(&whole.provider),
        "model": word(&whole.model),
        "usage": {
            "input": usage.input, "output": usage.output, "cacheRead": usage.cache_read, "cacheWrite": usage.cache_write,
            "totalTokens": usage.total(),
            "cost": {
                "input": cost.input, "output": cost.output, "cacheRead": cost.cache_read, "cacheWrite": cost.cache_write,
                "total": cost.total,
            },
        },
        "stopReason": whole.stop_reason.as_deref().unwrap_or("stop"),
        "timestamp": at,
    });
    if let (Some(error), Some(map)) = (&whole.error, message.as_object_mut()) {
        map.insert("errorMessage".to_owned(), json!(error));
    }
    message
}

fn result(block: &Block, at: u64, names: &HashMap<String, String>) -> Option<Value> {
    let Block::ToolResult { id, content, is_error } = block else { return None };
    Some(json!({
        "role": "toolResult",
        "toolCallId": id,
        "toolName": names.get(id).map_or("tool", String::as_str),
        "content": content.iter().map(written).collect::<Vec<_>>(),
        "isError": is_error,
        "timestamp": at,
    }))
}

fn written(block: &Block) -> Value {
    match block {
        Block::Text { text } => json!({ "type": "text", "text": text }),
        Block::Image { mime_type, data } => json!({ "type": "image", "mimeType": mime_type, "data": data }),
        Block::Thinking { text, signature } => {
            let mut map = Map::new();
            map.insert("type".to_owned(), json!("thinking"));
            map.insert("thinking".to_owned(), json!(text));
            if let Some(signature) = signature {
                map.insert("thinkingSignature".to_owned(), json!(signature));
            }
            Value::Object(map)
        }
        Block::Redacted { data } => json!({ "type": "thinking", "thinking": "", "thinkingSignature": data, "redacted": true }),
        Block::ToolUse { id, name, input } => json!({ "type": "toolCall", "id": id, "name": name, "arguments": input }),
        // A result holds no result.
        Block::ToolResult { .. } => json!({ "type": "text", "text": "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: Role, content: Vec<Block>) -> Whole {
        Whole {
            message: serde_json::to_value(Message { role, content }).unwrap(),
            provider: Some("p".into()),
            model: Some("m".into()),
            ..Whole::default()
        }
    }

    fn conversation() -> Vec<Message> {
        let text = |text: &str| Block::Text { text: text.into() };
        let sealed = Block::Thinking { text: "hm".into(), signature: Some("s".into()) };
        let call = |id: &str| Block::ToolUse { id: id.into(), name: "exec".into(), input: json!({ "command": "ls" }) };
        let result = |id: &str| Block::ToolResult { id: id.into(), content: vec![text("out")], is_error: false };
        vec![
            Message {
                role: Role::Assistant,
                content: vec![sealed, Block::Redacted { data: "r".into() }, text("I look"), call("1"), call("2")],
            },
            Message { role: Role::User, content: vec![result("1"), result("2")] },
            Message { role: Role::User, content: vec![text("hurry")] },
            Message { role: Role::Assistant, content: vec![text("done")] },
        ]
    }

    #[test]
    fn what_a_model_said_comes_back_as_it_was_said() {
        let mut names = HashMap::new();
        let entries: Vec<Value> =
            conversation().into_iter().flat_map(|message| to_transcript(&said(message.role, message.content), 5, &mut names)).collect();
        assert_eq!(entries.len(), 5);
        assert_eq!((&entries[1]["toolName"], &entries[0]["content"][3]["type"]), (&json!("exec"), &json!("toolCall")));
        let found = of_transcript(Recall { messages: entries, ..Recall::default() });
        let history: Vec<Message> = found.history.iter().map(|known| known.message.clone()).collect();
        assert_eq!(history, conversation());
        assert_eq!((found.history[0].by.as_deref(), &found.history[1].by), (Some("p/m"), &None));
    }

    #[test]
    fn a_summary_stands_before_what_it_kept() {
        let user = |text: &str| message::user(text, 1);
        let recall = Recall {
            summary: Some("They met.".into()),
            kept: Some(Kept::Newest(1)),
            messages: vec![user("old"), user("kept"), user("new")],
            before: 2,
        };
        let texts: Vec<String> = of_transcript(recall)
            .history
            .into_iter()
            .map(|known| match &known.message.content[0] {
                Block::Text { text } => text.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!((texts.len(), texts[0].ends_with("They met."), &texts[1][..], &texts[2][..]), (3, true, "kept", "new"));
    }

    #[test]
    fn files_are_named_and_may_be_read_again() {
        let mut asked = message::user("look", 1);
        message::attach(&mut asked, [message::FileRef { name: "a.png", mime_type: "image/png", bytes: 3, path: "/m/a.png" }]);
        let found = of_transcript(Recall { messages: vec![asked, json!({ "role": "strange" })], ..Recall::default() });
        assert_eq!(found.files, [PathBuf::from("/m/a.png")]);
        assert!(matches!(&found.history[0].message.content[1], Block::Text { text } if text.contains("/m/a.png")));
    }
}
