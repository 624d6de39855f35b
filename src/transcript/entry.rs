//! What stands in a transcript: the header line and the entries, written by us and read from anybody.
//!
//! Entries are read only as far as the place in the conversation needs it; types and fields that we do not know stay as they are.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::clock::iso;

/// Version of the form, as the header says it.
pub const VERSION: u32 = 3;

/// The first line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Id of the conversation: the session id.
    pub id: String,
    /// Working directory of the agent.
    pub cwd: String,
}

impl Header {
    /// The line, with its newline. `at` is the time in ms since the epoch.
    #[must_use]
    pub fn line(&self, at: u64) -> Vec<u8> {
        let header = json!({ "type": "session", "version": VERSION, "id": self.id, "timestamp": iso(at), "cwd": self.cwd });
        format!("{header}\n").into_bytes()
    }
}

/// An entry that is to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// Its type.
    pub kind: &'static str,
    /// Everything but `type`, `id`, `parentId` and `timestamp`.
    pub fields: Map<String, Value>,
    /// When it was made, ms since the epoch.
    pub at: u64,
    /// Names what it says, so that saying it again after a crash adds nothing; kept in the entry as `key`.
    pub key: Option<String>,
}

impl NewEntry {
    /// A message: see [`super::message`] for how one is made.
    #[must_use]
    pub fn message(message: Value, at: u64) -> Self {
        Self::of("message", [("message", message)], at)
    }

    /// A compaction: everything before the entry `first_kept` is told by `summary` from here on.
    #[must_use]
    pub fn compaction(summary: &str, first_kept: &str, tokens_before: u64, at: u64) -> Self {
        let fields = [("summary", json!(summary)), ("firstKeptEntryId", json!(first_kept)), ("tokensBefore", json!(tokens_before))];
        Self::of("compaction", fields, at)
    }

    /// A compaction that kept the newest `kept` messages, counted as a model is sent them.
    #[must_use]
    pub fn summary(summary: &str, kept: u64, tokens_before: u64, at: u64) -> Self {
        let mut entry = Self::compaction(summary, "", tokens_before, at);
        entry.fields.insert("keptMessages".to_owned(), json!(kept));
        entry
    }

    /// From here on the session uses this model.
    #[must_use]
    pub fn model_change(provider: &str, model: &str, at: u64) -> Self {
        Self::of("model_change", [("provider", json!(provider)), ("modelId", json!(model))], at)
    }

    /// From here on the session thinks on this level.
    #[must_use]
    pub fn thinking_level_change(level: &str, at: u64) -> Self {
        Self::of("thinking_level_change", [("thinkingLevel", json!(level))], at)
    }

    /// A record of a part of the program that is no part of the conversation.
    #[must_use]
    pub fn custom(custom_type: &str, data: Value, at: u64) -> Self {
        Self::of("custom", [("customType", json!(custom_type)), ("data", data)], at)
    }

    /// The same entry, appended at most once under this key.
    #[must_use]
    pub fn once(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    fn of<const N: usize>(kind: &'static str, fields: [(&str, Value); N], at: u64) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { kind, fields, at, key: None }
    }

    /// The line, with its newline.
    pub(super) fn line(self, id: &str, parent: &Parent) -> Vec<u8> {
        // What readers need of an entry stands before its content, so that they find it in the beginning of a long line.
        let mut entry = Map::new();
        entry.insert("type".to_owned(), json!(self.kind));
        entry.insert("id".to_owned(), json!(id));
        match parent {
            Parent::Unsaid => {}
            Parent::None => drop(entry.insert("parentId".to_owned(), Value::Null)),
            Parent::Id(parent) => drop(entry.insert("parentId".to_owned(), json!(parent))),
        }
        entry.insert("timestamp".to_owned(), json!(iso(self.at)));
        if let Some(key) = self.key {
            entry.insert("key".to_owned(), json!(key));
        }
        entry.extend(self.fields);
        format!("{}\n", Value::Object(entry)).into_bytes()
    }
}

/// A fresh id: eight hex digits.
#[must_use]
pub fn fresh_id() -> String {
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(8);
    id
}

/// Which entry an entry follows.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Parent {
    /// Nothing is said: the original's inject leaves it out. It follows the entry before it in the file.
    #[default]
    Unsaid,
    /// None: it begins the conversation.
    None,
    /// The entry with this id.
    Id(String),
}

impl<'de> Deserialize<'de> for Parent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map_or(Self::None, Self::Id))
    }
}

/// What a line says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts<'a> {
    /// `session` for the header, else the type of the entry.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// Its id.
    #[serde(default)]
    pub id: Option<String>,
    /// What it follows.
    #[serde(default)]
    pub parent_id: Parent,
    /// The caller's name for it.
    #[serde(default)]
    pub key: Option<String>,
    /// When it was written, as text.
    #[serde(default, borrow)]
    pub timestamp: Option<Cow<'a, str>>,
    /// The message of a `message`.
    #[serde(default, borrow)]
    pub message: Option<&'a RawValue>,
    /// The summary of a `compaction`.
    #[serde(default, borrow)]
    pub summary: Option<Cow<'a, str>>,
    /// Working directory, in a header.
    #[serde(default, borrow)]
    pub cwd: Option<Cow<'a, str>>,
}

impl<'a> Facts<'a> {
    /// Reads a line. `None` if it is no entry.
    #[must_use]
    pub fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// The text of a field of a line that is damaged or cut, found by its spelling: `"name":"text"`. Content comes after these fields, so the first is the right one.
#[must_use]
pub fn glimpse(line: &[u8], name: &str) -> Option<String> {
    let rest = behind(line, format!("\"{name}\":").as_bytes())?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    let plain = rest.get(..end)?;
    (rest.get(end) == Some(&b'"')).then(|| String::from_utf8(plain.to_vec()).ok()).flatten()
}

/// What stands behind the first `what` in `line`.
pub(super) fn behind<'a>(line: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memmem::find(line, what)?;
    line.get(at + what.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_first_who_it_is_and_then_what() {
        let entry = NewEntry::message(json!({ "role": "user", "content": "hi" }), 1_795_132_800_000).once("run:user");
        let line = String::from_utf8(entry.line("0a1b2c3d", &Parent::Id("ffffffff".to_owned()))).unwrap();
        let expected = r#"{"type":"message","id":"0a1b2c3d","parentId":"ffffffff","timestamp":"2026-11-20T00:00:00.000Z","key":"run:user","message":{"role":"user","content":"hi"}}"#;
        assert_eq!(line, format!("{expected}\n"));
        let facts = Facts::read(line.trim_end().as_bytes()).unwrap();
        assert_eq!((facts.kind.as_ref(), facts.id.as_deref(), facts.key.as_deref()), ("message", Some("0a1b2c3d"), Some("run:user")));
        assert_eq!(facts.parent_id, Parent::Id("ffffffff".to_owned()));
    }

    #[test]
    fn a_parent_is_said_none_or_left_out() {
        let parent = |text: &str| Facts::read(text.as_bytes()).unwrap().parent_id;
        assert_eq!(parent(r#"{"type":"x","parentId":null}"#), Parent::None);
        assert_eq!(parent(r#"{"type":"x"}"#), Parent::Unsaid);
        assert!(Facts::read(br#"{"type":"x","parentId":7}"#).is_none());
        assert!(Facts::read(br#"{"id":"x"}"#).is_none());
    }

    #[test]
    fn fields_of_a_broken_line_are_found_by_their_spelling() {
        let line = br#"{"type":"message","id":"abc","parentId": "def","message":{"id":"zzz","te"#;
        assert_eq!((glimpse(line, "id").as_deref(), glimpse(line, "parentId").as_deref()), (Some("abc"), Some("def")));
        assert_eq!(glimpse(line, "role"), None);
        assert_eq!(glimpse(br#"{"id":"cut"#, "id"), None);
    }

    #[test]
    fn ids_are_eight_hex_digits() {
        let id = fresh_id();
        assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}
