//! How a new key or value is written, so that it looks like what stands around it.

use std::fmt::Write as _;

use serde_json::Value;

use super::tree::{Kind, Node};

/// The habits of one text.
#[derive(Clone, Debug)]
pub struct Style {
    /// Whether keys are quoted, as in plain JSON.
    quoted: bool,
    /// One step of indentation.
    step: String,
    /// How lines end.
    line_end: &'static str,
}

impl Style {
    /// The habits of this text, whose document is `root`.
    #[must_use]
    pub fn of(text: &str, root: &Node) -> Self {
        let first = match &root.kind {
            Kind::Object(members) => members.first(),
            _ => None,
        };
        let start = first.map_or(0, |member| member.key_span.start);
        let indent = first.map(|member| indent_at(text, member.key_span.start)).filter(|indent| !indent.is_empty());
        Self {
            quoted: first.is_some() && text.get(start..).is_some_and(|rest| rest.starts_with('"')),
            step: indent.unwrap_or("  ").to_owned(),
            line_end: if text.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }

    /// One step of indentation.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.step
    }

    /// How lines end.
    #[must_use]
    pub fn line_end(&self) -> &'static str {
        self.line_end
    }

    /// A key as it is written here.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        let first = key.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '$'));
        let bare = first && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
        if bare && !self.quoted { key.to_owned() } else { Value::from(key).to_string() }
    }

    /// A value whose line is indented by `indent`; objects and long lists take several lines.
    #[must_use]
    pub fn value(&self, value: &Value, indent: &str) -> String {
        let mut text = String::new();
        self.write(&mut text, value, indent);
        text
    }

    fn write(&self, text: &mut String, value: &Value, indent: &str) {
        let inner = format!("{indent}{}", self.step);
        match value {
            Value::Object(object) if !object.is_empty() => {
                text.push('{');
                for (n, (key, value)) in object.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    let _ = write!(text, "{comma}{}{inner}{}: ", self.line_end, self.key(key));
                    self.write(text, value, &inner);
                }
                let _ = write!(text, "{}{indent}}}", self.line_end);
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                text.push('[');
                for (n, item) in items.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    let _ = write!(text, "{comma}{}{inner}", self.line_end);
                    self.write(text, item, &inner);
                }
                let _ = write!(text, "{}{indent}]", self.line_end);
            }
            Value::Array(items) => {
                let _ = write!(text, "[{}]", items.iter().map(Value::to_string).collect::<Vec<_>>().join(", "));
            }
            other => {
                let _ = write!(text, "{other}");
            }
        }
    }
}

/// The white space at the beginning of the line of `at`, if nothing else stands before it.
#[must_use]
pub fn indent_at(text: &str, at: usize) -> &str {
    let line = text.get(..at).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
    let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
    line.get(..blank).unwrap_or_default()
}

/// Whether nothing but white space stands before `at` on its line.
#[must_use]
pub fn begins_line(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    before.contains('\n') && line.trim().is_empty()
}
