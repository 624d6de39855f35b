//! One record: what an event says, as a JSON line and as a line for people.

use std::fmt::{Debug, Write as _};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use super::word;
use crate::clock::iso;

/// Longest text of one value, bytes; what is longer is cut and says so.
const MAX_TEXT: usize = 8 * 1024;

/// One record.
pub struct Record {
    ts: u64,
    level: Level,
    target: &'static str,
    message: String,
    fields: Map<String, Value>,
}

impl Record {
    /// What an event says.
    #[must_use]
    pub fn of(ts: u64, event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut record = Self { ts, level: *metadata.level(), target: metadata.target(), message: String::new(), fields: Map::new() };
        event.record(&mut record);
        record
    }

    /// That so many records of a place were left out.
    #[must_use]
    pub fn suppressed(ts: u64, place: &'static Metadata<'static>, count: u64) -> Self {
        let site = format!("{}:{}", place.file().unwrap_or(place.target()), place.line().unwrap_or(0));
        let fields = [("site".to_owned(), json!(site)), ("suppressed".to_owned(), json!(count))];
        Self {
            ts,
            level: *place.level(),
            target: place.target(),
            message: format!("{count} suppressed: this place logs too fast"),
            fields: fields.into_iter().collect(),
        }
    }

    /// The record as a line of JSON. The keys `1` and `_meta` repeat message, level and place where front ends of the original look for them.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let place = self.place();
        let mut line = json!({
            "time": iso(self.ts),
            "level": word(self.level),
            "target": place,
            "message": self.message,
        });
        if let Some(object) = line.as_object_mut() {
            if !self.fields.is_empty() {
                object.insert("fields".to_owned(), Value::Object(self.fields.clone()));
            }
            object.insert("1".to_owned(), json!(self.message));
            object.insert("_meta".to_owned(), json!({"logLevelName": self.level.as_str(), "name": place}));
        }
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The record as a line for people, with the place in the program or without.
    #[must_use]
    pub fn text(&self, with_place: bool) -> Vec<u8> {
        let mut line = format!("{} {:>5} ", iso(self.ts), self.level.as_str());
        if with_place {
            let _ = write!(line, "{}: ", self.target);
        }
        clean(&self.message, true, &mut line);
        for (name, value) in &self.fields {
            let _ = write!(line, " {name}=");
            match value {
                Value::String(text) => clean(text, false, &mut line),
                other => line.push_str(&other.to_string()),
            }
        }
        line.push('\n');
        line.into_bytes()
    }

    /// The part of the program, without its own name.
    fn place(&self) -> &'static str {
        self.target.strip_prefix("skykoi_gateway::").unwrap_or(self.target)
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = cut(text),
            ("message", other) => self.message = other.to_string(),
            (name, Value::String(text)) => drop(self.fields.insert(name.to_owned(), Value::String(cut(text)))),
            (name, other) => drop(self.fields.insert(name.to_owned(), other)),
        }
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
}

/// Cuts a text that is too long for a log.
fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let whole = text.len();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        let _ = write!(text, "… ({whole} bytes)");
    }
    text
}

/// Appends a text without what could move a terminal's cursor or fake a line. Messages may have lines of their own.
fn clean(text: &str, lines: bool, out: &mut String) {
    for c in text.chars() {
        if c.is_control() && !(lines && c == '\n') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str, value: Value) -> Record {
        let fields = [("cause".to_owned(), value)].into_iter().collect();
        Record { ts: 1_795_132_800_123, level: Level::WARN, target: "skykoi_gateway::store", message: message.to_owned(), fields }
    }

    #[test]
    fn a_line_for_people_cannot_be_faked_by_a_value() {
        let text = record("two\nlines\x1b[2J", json!("a\nINFO all is well")).text(true);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "2026-11-20T00:00:00.123Z  WARN skykoi_gateway::store: two\nlines\\u{1b}[2J cause=a\\nINFO all is well\n");
        assert!(!String::from_utf8(record("x", json!(1)).text(false)).unwrap().contains("store"));
    }

    #[test]
    fn a_record_names_the_part_of_the_program_and_is_one_line() {
        let bytes = record("a\nb", json!(true)).json();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&line["target"], &line["fields"]["cause"]), (&json!("store"), &json!(true)));
    }

    #[test]
    fn a_text_of_any_length_is_cut_between_letters() {
        let text = cut("é".repeat(MAX_TEXT));
        assert!(text.len() < MAX_TEXT + 40 && text.contains("… (16384 bytes)"), "{}", text.len());
    }
}
