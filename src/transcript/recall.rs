//! The part of a conversation that its next turn builds on: back to the newest summary, and what that one kept.

use std::fs::File;
use std::io;

use serde_json::Value;

use super::branch::Branch;

/// Most bytes that are read; what is older is forgotten, as if it had never been said.
pub const MAX_BYTES: usize = 16 << 20;

/// What a turn builds on.
#[derive(Debug, Default, PartialEq)]
pub struct Recall {
    /// What stands for everything before the messages.
    pub summary: Option<String>,
    /// How many of the first messages the summary would have replaced: entries that stand before it and were kept are counted by who reads messages out of them.
    pub kept: Option<Kept>,
    /// The messages, oldest first, as they stand in the file.
    pub messages: Vec<Value>,
    /// How many of them stand before the summary.
    pub before: usize,
}

/// Which messages before a summary are still shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All that were read: they were found by the name of the first.
    All,
    /// The newest so many, counted as a model is sent them.
    Newest(u64),
}

/// Reads back from the end of the file.
pub(super) fn read(file: &File, len: u64) -> io::Result<Recall> {
    let mut branch = Branch::new(file, len, MAX_BYTES);
    let mut recall = Recall::default();
    let (mut bytes, mut first_kept): (usize, Option<String>) = (0, None);
    while let Some(link) = branch.previous()? {
        bytes = bytes.saturating_add(link.line.len());
        if bytes > MAX_BYTES {
            break;
        }
        match link.kind.as_str() {
            "message" => {
                if let Some(message) = link.facts().and_then(|facts| serde_json::from_str(facts.message?.get()).ok()) {
                    recall.messages.push(message);
                    recall.before += usize::from(recall.summary.is_some());
                }
                let wanted = match recall.kept {
                    // A message of a model may be several entries: the results of its tools.
                    Some(Kept::Newest(count)) => recall.before < usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(64),
                    Some(Kept::All) => first_kept.is_none() || first_kept != link.id,
                    None => true,
                };
                if !wanted {
                    break;
                }
            }
            "compaction" if recall.summary.is_none() => {
                let entry: Value = serde_json::from_slice(&link.line).unwrap_or_default();
                recall.summary = Some(entry.get("summary").and_then(Value::as_str).unwrap_or_default().to_owned());
                first_kept = entry.get("firstKeptEntryId").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
                recall.kept = Some(entry.get("keptMessages").and_then(Value::as_u64).map_or(Kept::All, Kept::Newest));
                if recall.kept == Some(Kept::Newest(0)) || (recall.kept == Some(Kept::All) && first_kept.is_none()) {
                    break;
                }
            }
            // What an older summary stands for is in the newer one.
            "compaction" => break,
            _ => {}
        }
    }
    recall.messages.reverse();
    Ok(recall)
}
