//! The rows of a transcript as a chat shows them: without what was put in for models, with a mark that says which entry a row is, and no longer than asked for.
//!
//! A message that needs no change is passed on as the text that stands in the file, without being read.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::media::Media;
use crate::clock::from_iso;
use crate::transcript::clean::clean;
use crate::transcript::glance::cut;
use crate::transcript::message;
use crate::transcript::page::{Content, Page, Row};

/// What stands in place of a message that is longer than a whole answer may be.
pub const OMITTED: &str = "[chat.history omitted: message too large]";
/// Most bytes of the messages of one answer.
pub const MAX_BYTES: usize = 6 * 1024 * 1024;

/// How rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Protocol of the connection: from 4 on every row has a mark.
    pub protocol: u32,
    /// Most characters of one text.
    pub max_chars: Option<usize>,
}

/// The row as a message on the wire. `load` gives the bytes of a file that came with it, if they are to be shown.
#[must_use]
pub fn shown(row: &Row, form: Form, load: &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> Option<Box<RawValue>> {
    let mark = |kind: &str| marked(row, form, kind);
    let value = match &row.content {
        Content::Message(raw) => {
            let Some(message) = changed(raw, form, load) else {
                return match marked(row, form, "message") {
                    None => Some(raw.clone()),
                    Some((key, mark)) => RawValue::from_string(with_key(raw.get(), key, &mark)?).ok(),
                };
            };
            with(message, mark("message"))
        }
        Content::Compaction { summary, timestamp } => {
            let at = timestamp.as_deref().and_then(from_iso);
            let mut message = json!({ "role": "system", "content": [{ "type": "text", "text": limited(summary, form) }], "timestamp": at });
            if at.is_none() {
                remove(&mut message, "timestamp");
            }
            with(message, mark("compaction"))
        }
        Content::TooLarge { role, beginning } => {
            let role = if role.is_empty() { "assistant" } else { role };
            let text = if role == "user" { clean(beginning) } else { beginning.into() };
            let text = if text.is_empty() { OMITTED.to_owned() } else { format!("{}\n\n{OMITTED}", limited(&cut(&text, 4000), form)) };
            with(json!({ "role": role, "content": [{ "type": "text", "text": text }] }), mark("message"))
        }
    };
    serde_json::value::to_raw_value(&value).ok()
}

/// The newest messages that are together no longer than `max_bytes`, oldest first; at least the newest one.
#[must_use]
pub fn fitting(page: &Page, max_bytes: usize, form: Form, media: &Media) -> (Vec<Box<RawValue>>, bool) {
    let (mut messages, mut bytes): (Vec<Box<RawValue>>, usize) = (Vec::with_capacity(page.rows.len()), 0);
    for row in page.rows.iter().rev() {
        // Images may take half of the room that is left, so that they never push out what was said beside them.
        let mut room = max_bytes.saturating_sub(bytes) / 2;
        let mut load = |place: &str| {
            let loaded = media.load(Path::new(place), room / 4 * 3)?;
            room = room.saturating_sub(loaded.len().div_ceil(3) * 4);
            Some(loaded)
        };
        let Some(message) = shown(row, form, &mut load) else { continue };
        bytes += message.get().len() + 1;
        if bytes > max_bytes && !messages.is_empty() {
            break;
        }
        messages.push(message);
    }
    messages.reverse();
    let more = page.has_more || messages.len() < page.rows.len();
    (messages, more)
}

/// The mark of a row: its key and what it says. On protocol 3 only rows that are no messages have one.
fn marked(row: &Row, form: Form, kind: &str) -> Option<(&'static str, Value)> {
    if form.protocol < 4 {
        return (kind != "message").then(|| ("__SKYKOI", json!({ "kind": kind, "id": row.id })));
    }
    let mut mark = Map::new();
    if let Some(id) = &row.id {
        mark.insert("id".to_owned(), json!(id));
    }
    mark.insert("seq".to_owned(), json!(row.seq));
    mark.insert("kind".to_owned(), json!(kind));
    Some(("__openclaw", Value::Object(mark)))
}

/// The message with what has to be changed in it; none if that is nothing.
fn changed(raw: &RawValue, form: Form, load: &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> Option<Value> {
    let text = raw.get();
    let long = form.max_chars.is_some_and(|max| text.len() > max);
    let hints = text.contains("[message_id:") || text.contains("\"content\":\"[") || text.contains("\"text\":\"[");
    let files = text.contains("\"media\":\"");
    if !long && !hints && !files {
        return None;
    }
    let mut value: Value = serde_json::from_str(text).ok()?;
    let user = message::role(&value) == "user";
    let before = value.clone();
    let fix = |text: &mut String| {
        if user {
            *text = clean(text).into_owned();
        }
        *text = limited(text, form);
    };
    for_each_text(&mut value, fix);
    show_files(&mut value, load);
    (value != before).then_some(value)
}

/// Changes the texts of a message: its content, or the text and thinking in its blocks.
fn for_each_text(message: &mut Value, mut change: impl FnMut(&mut String)) {
    match message.get_mut("content") {
        Some(Value::String(text)) => change(text),
        Some(Value::Array(blocks)) => {
            for block in blocks {
                for key in ["text", "thinking"] {
                    if let Some(Value::String(text)) = block.get_mut(key) {
                        change(text);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Takes out of a message where its files lie, for those who are told of it while it is written.
pub fn without_places(message: &mut Value) {
    show_files(message, &mut |_| None);
}

/// Puts the bytes of images into their blocks, as clients expect them; where they are not to be had, the block says `omitted`. The place of a file is nobody's business.
fn show_files(message: &mut Value, load: &mut dyn FnMut(&str) -> Option<Vec<u8>>) {
    for block in message.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(block) = block.as_object_mut() else { continue };
        let image = block.get("type").is_some_and(|kind| kind == "image");
        let Some(Value::String(place)) = block.shift_remove("media") else { continue };
        if !image {
            continue;
        }
        match load(&place) {
            Some(bytes) => block.insert("data".to_owned(), json!(STANDARD.encode(bytes))),
            None => block.insert("omitted".to_owned(), json!(true)),
        };
    }
}

fn limited(text: &str, form: Form) -> String {
    form.max_chars.map_or_else(|| text.to_owned(), |max| cut(text, max))
}

fn with(mut message: Value, mark: Option<(&'static str, Value)>) -> Value {
    if let (Some(map), Some((key, mark))) = (message.as_object_mut(), mark) {
        map.insert(key.to_owned(), mark);
    }
    message
}

/// The text of an object with one more key, put in before its last brace.
fn with_key(object: &str, key: &str, value: &Value) -> Option<String> {
    let body = object.trim_end().strip_suffix('}')?;
    let comma = if body.trim_end().ends_with('{') { "" } else { "," };
    Some(format!("{body}{comma}\"{key}\":{value}}}"))
}

fn remove(message: &mut Value, key: &str) {
    if let Some(map) = message.as_object_mut() {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3: Form = Form { protocol: 3, max_chars: None };
    const V4: Form = Form { protocol: 4, max_chars: None };

    fn row(content: Content) -> Row {
        Row { id: Some("0a1b2c3d".to_owned()), seq: 7, content }
    }

    fn said(text: &str) -> Row {
        row(Content::Message(RawValue::from_string(text.to_owned()).unwrap()))
    }

    fn value(row: &Row, form: Form) -> Value {
        serde_json::from_str(shown(row, form, &mut |_| None).unwrap().get()).unwrap()
    }

    #[test]
    fn a_message_is_passed_on_as_it_stands_and_marked_on_protocol_4() {
        let text = r#"{"role":"assistant","content":[],"odd": 1.50 }"#;
        assert_eq!(shown(&said(text), V3, &mut |_| None).unwrap().get(), text);
        let marked = shown(&said(text), V4, &mut |_| None).unwrap();
        assert_eq!(
            marked.get(),
            r#"{"role":"assistant","content":[],"odd": 1.50 ,"__openclaw":{"id":"0a1b2c3d","seq":7,"kind":"message"}}"#
        );
        assert_eq!(value(&said("{}"), V4)["__openclaw"]["seq"], 7);
    }

    #[test]
    fn defect_32_history_shows_what_the_user_wrote() {
        let text =
            r#"{"role":"user","content":[{"type":"text","text":"[Sat 2026-11-21 07:00 UTC] df -h\n[message_id: 1]"}],"timestamp":5}"#;
        assert_eq!(value(&said(text), V3), json!({ "role": "user", "content": [{ "type": "text", "text": "df -h" }], "timestamp": 5 }));
        let plain = r#"{"role":"user","content":"[Sat 2026-11-21 07:00 UTC] df -h"}"#;
        assert_eq!(value(&said(plain), V3)["content"], "df -h");
        let answer = r#"{"role":"assistant","content":"[Sat 2026-11-21 07:00 UTC] is a time"}"#;
        assert_eq!(shown(&said(answer), V3, &mut |_| None).unwrap().get(), answer);
    }

    #[test]
    fn a_compaction_is_a_marked_message_of_the_system() {
        let compaction = row(Content::Compaction { summary: "so far".to_owned(), timestamp: Some("1970-01-01T00:00:00.005Z".to_owned()) });
        let expected = json!({ "role": "system", "content": [{ "type": "text", "text": "so far" }], "timestamp": 5, "__SKYKOI": { "kind": "compaction", "id": "0a1b2c3d" } });
        assert_eq!(value(&compaction, V3), expected);
        assert_eq!(value(&compaction, V4)["__openclaw"], json!({ "id": "0a1b2c3d", "seq": 7, "kind": "compaction" }));
    }

    #[test]
    fn texts_are_cut_where_asked_and_what_is_too_large_says_so() {
        let form = Form { protocol: 3, max_chars: Some(5) };
        let text = r#"{"role":"assistant","content":[{"type":"text","text":"0123456789"},{"type":"thinking","thinking":"abcdefgh"}]}"#;
        let blocks = &value(&said(text), form)["content"];
        assert_eq!((&blocks[0]["text"], &blocks[1]["thinking"]), (&json!("0123…"), &json!("abcd…")));
        let large = row(Content::TooLarge { role: "user".to_owned(), beginning: "begin".to_owned() });
        assert_eq!(value(&large, V3)["content"][0]["text"], format!("begin\n\n{OMITTED}"));
        let unknown = row(Content::TooLarge { role: String::new(), beginning: String::new() });
        assert_eq!(
            (value(&unknown, V3)["role"].as_str(), value(&unknown, V3)["content"][0]["text"].as_str()),
            (Some("assistant"), Some(OMITTED))
        );
    }

    #[test]
    fn images_come_with_their_bytes_and_no_file_with_its_place() {
        let text = r#"{"role":"user","content":[{"type":"text","text":"look"},{"type":"image","mimeType":"image/png","fileName":"a.png","bytes":3,"media":"/m/a.png"},{"type":"file","mimeType":"text/plain","fileName":"b.txt","bytes":1,"media":"/m/b.txt"}]}"#;
        let load = &mut |place: &str| (place == "/m/a.png").then(|| b"abc".to_vec());
        let shown_value: Value = serde_json::from_str(shown(&said(text), V3, load).unwrap().get()).unwrap();
        let file = json!({ "type": "file", "mimeType": "text/plain", "fileName": "b.txt", "bytes": 1 });
        assert_eq!((&shown_value["content"][1]["data"], &shown_value["content"][2]), (&json!("YWJj"), &file));
        let without = &value(&said(text), V3)["content"][1];
        assert_eq!((&without["omitted"], without.get("media")), (&json!(true), None));
    }
}
