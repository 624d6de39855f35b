//! A short look at a conversation, for lists: its first words, its last words, its last few items.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde_json::Value;

use super::backward::Backward;
use super::branch::Branch;
use super::clean::clean;
use super::entry::Facts;
use super::message;

/// A line longer than this, in bytes, shows only its beginning in a preview.
const PREVIEW_LINE: usize = 256 * 1024;

/// One item of a preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `user`, `assistant`, `tool`, `system` or `other`.
    pub role: &'static str,
    /// What it says, cut.
    pub text: String,
}

/// The first thing the user said, if it stands within the first `max` bytes; cut where they end.
pub(super) fn first_user_text(file: &File, max: usize) -> io::Result<Option<String>> {
    let mut head = vec![0; max];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    head.truncate(filled);
    let texts = head.split(|byte| *byte == b'\n').filter_map(said);
    Ok(texts.filter(|(role, text)| role == "user" && !text.trim().is_empty()).map(|(_, text)| text).next())
}

/// The last thing that user or assistant said, if any of it stands within the last `max` bytes.
pub(super) fn last_text(file: &File, len: u64, max: usize) -> io::Result<Option<String>> {
    let floor = len.saturating_sub(max as u64);
    let mut lines = Backward::new(file, len, max);
    while let Some(line) = lines.previous()? {
        if line.offset + line.len < floor {
            break;
        }
        let said = said(&line.bytes).filter(|(role, text)| matches!(role.as_str(), "user" | "assistant") && !text.trim().is_empty());
        if let Some((_, text)) = said {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The last `limit` items of the conversation, oldest first, each cut to `max_chars`.
pub(super) fn preview(file: &File, len: u64, limit: usize, max_chars: usize) -> io::Result<Vec<Item>> {
    let mut branch = Branch::new(file, len, PREVIEW_LINE);
    let mut items = Vec::new();
    while items.len() < limit
        && let Some(link) = branch.previous()?
    {
        let item = match link.kind.as_str() {
            "message" if link.is_whole() => link
                .facts()
                .and_then(|facts| facts.message)
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
                .and_then(|message| item(&message)),
            "message" => message::beginning(&link.line).map(|(role, text)| Item { role: shown(&role), text: clean(&text).into_owned() }),
            "compaction" => {
                let summary = link.facts().and_then(|facts| facts.summary.map(std::borrow::Cow::into_owned));
                summary.map(|text| Item { role: "system", text })
            }
            _ => None,
        };
        if let Some(mut item) = item.filter(|item| !item.text.trim().is_empty()) {
            item.text = cut(item.text.trim(), max_chars);
            items.push(item);
        }
    }
    items.reverse();
    Ok(items)
}

/// The text with at most so many characters; an ellipsis says that there was more.
#[must_use]
pub fn cut(text: &str, max_chars: usize) -> String {
    if text.chars().nth(max_chars).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max_chars.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Role and text of a line that is a message, whole or cut.
fn said(line: &[u8]) -> Option<(String, String)> {
    let (role, text) = match Facts::read(line) {
        Some(facts) => {
            let message: Value = serde_json::from_str(facts.message?.get()).ok()?;
            (message::role(&message).to_owned(), message::text(&message))
        }
        None => message::beginning(line)?,
    };
    let text = if role == "user" { clean(&text).into_owned() } else { text };
    Some((role, text))
}

fn shown(role: &str) -> &'static str {
    match role {
        "user" => "user",
        "assistant" => "assistant",
        "toolResult" | "tool" | "toolCall" => "tool",
        "system" => "system",
        _ => "other",
    }
}

fn item(message: &Value) -> Option<Item> {
    let role = shown(message::role(message));
    let text = message::text(message);
    if !text.trim().is_empty() {
        return Some(Item { role, text: if role == "user" { clean(&text).into_owned() } else { text } });
    }
    let calls: Vec<&str> = message::tool_calls(message).map(|(_, name)| name).collect();
    (!calls.is_empty()).then(|| Item { role: "tool", text: format!("call {}", calls.join(", ")) })
}
