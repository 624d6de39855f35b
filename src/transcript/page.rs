//! The newest messages of a conversation, read from the end of the file: the cost is that of the page, not of the file.

use std::fs::File;
use std::io;

use serde_json::value::RawValue;

use super::branch::{Branch, Link};
use super::count::Count;
use super::message;

/// Which messages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Most rows.
    pub limit: usize,
    /// How many of the newest rows to leave out.
    pub offset: usize,
    /// Most bytes of JSON in all rows; the oldest are left out.
    pub max_bytes: usize,
    /// Whether the rows' places in the file are wanted; without them, nothing but the page is read.
    pub numbered: bool,
}

/// A page, its oldest row first.
#[derive(Debug, Default)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether there are older rows.
    pub has_more: bool,
    /// How many lines on the way made no sense.
    pub damaged: u64,
}

/// A message, or what is shown as one.
#[derive(Debug)]
pub struct Row {
    /// Id of the entry, if it has one.
    pub id: Option<String>,
    /// How many lines stand before it in the file; 0 if not asked for.
    pub seq: u64,
    /// What it says.
    pub content: Content,
}

/// What a row says.
#[derive(Debug)]
pub enum Content {
    /// A message as it stands in the file.
    Message(Box<RawValue>),
    /// What was told before was replaced by this summary.
    Compaction {
        /// The summary.
        summary: String,
        /// When, as ISO text.
        timestamp: Option<String>,
    },
    /// A message that is longer than the whole page may be.
    TooLarge {
        /// Who said it.
        role: String,
        /// The beginning of its text.
        beginning: String,
    },
}

/// Reads a page of the file, which is `len` bytes long.
pub(super) fn read(file: &File, len: u64, query: Query, count: impl FnOnce() -> Count) -> io::Result<(Page, Count)> {
    let mut count = count();
    let lines = if query.numbered { count.lines_before(file, len)? } else { 0 };
    let mut branch = Branch::new(file, len, query.max_bytes);
    let mut page = Page::default();
    let (mut passed, mut bytes) = (0, 0);
    while let Some(link) = branch.previous()? {
        let Some(content) = content(&link) else { continue };
        if passed < query.offset {
            passed += 1;
            continue;
        }
        let size = content.size();
        if page.rows.len() >= query.limit || (!page.rows.is_empty() && bytes + size > query.max_bytes) {
            page.has_more = true;
            break;
        }
        bytes += size;
        let seq = if query.numbered { lines.saturating_sub(link.back) } else { 0 };
        page.rows.push(Row { id: link.id, seq, content });
    }
    page.rows.reverse();
    page.damaged = branch.damaged();
    Ok((page, count))
}

impl Content {
    /// About how many bytes of JSON it is.
    fn size(&self) -> usize {
        match self {
            Self::Message(raw) => raw.get().len(),
            Self::Compaction { summary, .. } => summary.len(),
            Self::TooLarge { beginning, .. } => beginning.len(),
        }
    }
}

/// What an entry shows in a history; none for those that are no part of the conversation.
fn content(link: &Link) -> Option<Content> {
    match link.kind.as_str() {
        "message" if !link.is_whole() => {
            let (role, beginning) = message::beginning(&link.line).unwrap_or_default();
            Some(Content::TooLarge { role, beginning })
        }
        "message" => Some(Content::Message(link.facts()?.message?.to_owned())),
        "compaction" => {
            let facts = link.facts();
            let summary = facts.as_ref().and_then(|facts| facts.summary.as_deref()).unwrap_or_default().to_owned();
            Some(Content::Compaction { summary, timestamp: facts.and_then(|facts| facts.timestamp.map(std::borrow::Cow::into_owned)) })
        }
        _ => None,
    }
}
