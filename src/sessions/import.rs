//! Reads the session store of the original: one JSON object, session key → entry. Pure; what cannot be taken is said, and what this program does not know is kept.

use std::collections::HashMap;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{Settings, fresh_id, key};
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::session::entry::SessionEntry;
use crate::store::sessions::SessionRecord;

/// Problems beyond this many are only counted.
const TOLD: usize = 50;

/// What a store holds.
#[derive(Debug, Default, PartialEq)]
pub struct Parsed {
    /// The sessions, one for each canonical key.
    pub rows: Vec<SessionRecord>,
    /// What was left out or changed, one line each.
    pub problems: Vec<String>,
}

/// Reads the text of a store that belongs to `agent`.
///
/// # Errors
/// It is no JSON object; one line that says where.
pub fn parse(text: &str, agent: &AgentId, settings: &Settings) -> Result<Parsed, String> {
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        // The original reads its store leniently, so a person may have written comments.
        Err(error) => json5::from_str(text).map_err(|_| format!("not JSON: {error}"))?,
    };
    let Value::Object(entries) = value else { return Err("not a JSON object of sessions".to_owned()) };
    let mut problems = Problems::default();
    let mut rows: HashMap<SessionKey, SessionRecord> = HashMap::new();
    for (name, value) in entries {
        let key = match settings.canonical(&name, agent) {
            Ok(key) => key,
            Err(why) => {
                problems.add(format!("{name:?}: left out, the key {why}"));
                continue;
            }
        };
        let Value::Object(fields) = value else {
            problems.add(format!("{name:?}: left out, it is no object"));
            continue;
        };
        let row = row(key, agent, fields, &mut |problem| problems.add(format!("{name:?}: {problem}")));
        let older = rows.get(&row.key).is_some_and(|known| known.entry.updated_at > row.entry.updated_at);
        if rows.contains_key(&row.key) {
            problems.add(format!("{name:?}: stands there under another spelling too; the one used last is kept"));
        }
        if !older {
            rows.insert(row.key.clone(), row);
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by(|a, b| (a.entry.updated_at, &a.key).cmp(&(b.entry.updated_at, &b.key)));
    Ok(Parsed { rows, problems: problems.told() })
}

fn row(key: SessionKey, agent: &AgentId, fields: Map<String, Value>, problem: &mut impl FnMut(String)) -> SessionRecord {
    let (mut entry, mut extra) = split(fields, problem);
    if entry.session_id.is_empty() {
        entry.session_id = fresh_id();
    } else if !is_file_name(&entry.session_id) {
        problem("its sessionId cannot name a file; it gets a new one".to_owned());
        let old = std::mem::replace(&mut entry.session_id, fresh_id());
        extra.insert("sessionId".to_owned(), Value::String(old));
    }
    let agent = key::agent_of(&key).unwrap_or_else(|| agent.clone());
    let extra = (!extra.is_empty()).then(|| Value::Object(extra).to_string());
    SessionRecord { extra, ..SessionRecord::new(key, agent, entry) }
}

/// The fields that are known, and the others. A known field of another type belongs to the others.
fn split(mut fields: Map<String, Value>, problem: &mut impl FnMut(String)) -> (SessionEntry, Map<String, Value>) {
    let mut extra = Map::new();
    fields.retain(|_, value| !value.is_null());
    let alone = |name: &str, value: &Value| Value::Object(Map::from_iter([(name.to_owned(), value.clone())]));
    for name in fields.keys().cloned().collect::<Vec<_>>() {
        if let Some(value) = fields.get(&name)
            && SessionEntry::deserialize(alone(&name, value)).is_err()
            && let Some(value) = fields.shift_remove(&name)
        {
            problem(format!("{name} has another type than expected; it is kept and not used"));
            extra.insert(name, value);
        }
    }
    let entry = SessionEntry::deserialize(Value::Object(fields.clone())).unwrap_or_default();
    let known = serde_json::to_value(&entry).unwrap_or_default();
    for (name, value) in fields {
        if known.get(&name).is_none() {
            extra.insert(name, value);
        }
    }
    (entry, extra)
}

/// Whether an id can be the name of a transcript.
#[must_use]
pub fn is_file_name(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= 128 && !id.starts_with('.') && id.bytes().all(plain)
}

#[derive(Default)]
struct Problems {
    lines: Vec<String>,
    more: usize,
}

impl Problems {
    fn add(&mut self, line: String) {
        if self.lines.len() < TOLD { self.lines.push(line) } else { self.more += 1 }
    }

    fn told(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::session::Session;

    fn read(value: &Value) -> Parsed {
        let settings = Settings { state_dir: "/state".into(), default_agent: AgentId::from("main"), rules: Session::default() };
        parse(&value.to_string(), &AgentId::from("koi"), &settings).unwrap()
    }

    fn find<'p>(parsed: &'p Parsed, key: &str) -> &'p SessionRecord {
        parsed.rows.iter().find(|row| row.key.as_str() == key).unwrap()
    }

    #[test]
    fn every_field_is_taken_or_kept() {
        let entry = json!({
            "sessionId": "s-1", "updatedAt": 5, "thinkingLevel": "high", "queueCap": 3, "modelOverride": "m", "origin": {"provider": "x"},
            "skillsSnapshot": {"prompt": "long"}, "fieldOfTomorrow": [1, {"a": null}], "lastTo": null,
        });
        let parsed = read(&json!({ "main": entry }));
        let row = find(&parsed, "agent:koi:main");
        assert_eq!((row.entry.session_id.as_str(), row.entry.updated_at, row.entry.queue_cap), ("s-1", 5, Some(3)));
        assert_eq!(
            (row.entry.thinking_level.as_deref(), row.entry.model_override.as_deref(), row.agent_id.as_str()),
            (Some("high"), Some("m"), "koi")
        );
        let extra: Value = serde_json::from_str(row.extra.as_deref().unwrap()).unwrap();
        assert_eq!(extra, json!({"skillsSnapshot": {"prompt": "long"}, "fieldOfTomorrow": [1, {"a": null}]}));
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    }

    #[test]
    fn a_field_of_another_type_costs_only_itself() {
        let parsed = read(&json!({"x": {"sessionId": "s", "updatedAt": "yesterday", "queueCap": -1, "label": "l"}}));
        let row = find(&parsed, "agent:koi:x");
        assert_eq!((row.entry.session_id.as_str(), row.entry.updated_at, row.entry.label.as_deref()), ("s", 0, Some("l")));
        assert_eq!(row.extra.as_deref(), Some(r#"{"updatedAt":"yesterday","queueCap":-1}"#));
        assert_eq!(parsed.problems.len(), 2);
    }

    #[test]
    fn ids_that_cannot_name_a_file_are_replaced() {
        for id in ["../../etc/passwd", "a/b", ".hidden", "a b"] {
            let parsed = read(&json!({"x": {"sessionId": id, "updatedAt": 1}}));
            let row = &parsed.rows[0];
            assert!(is_file_name(&row.entry.session_id) && row.extra.as_deref().unwrap().contains("sessionId"), "{id}");
        }
        assert!(is_file_name(&read(&json!({"x": {}})).rows[0].entry.session_id));
    }

    #[test]
    fn keys_become_canonical_and_of_two_spellings_the_newest_stays() {
        let parsed = read(&json!({
            "Main": {"sessionId": "old", "updatedAt": 1}, "agent:koi:main": {"sessionId": "new", "updatedAt": 2}, "main": {"sessionId": "older", "updatedAt": 0},
            "global": {"sessionId": "g"}, "agent:other:x": {"sessionId": "o"}, "a b": {"sessionId": "x"}, "bad": 7,
        }));
        assert_eq!(find(&parsed, "agent:koi:main").entry.session_id, "new");
        assert_eq!((find(&parsed, "global").agent_id.as_str(), find(&parsed, "agent:other:x").agent_id.as_str()), ("koi", "other"));
        assert_eq!((parsed.rows.len(), parsed.problems.len()), (3, 4));
    }

    #[test]
    fn a_damaged_store_is_refused_as_a_whole_and_a_lenient_one_is_read() {
        let settings = Settings { state_dir: "/state".into(), default_agent: AgentId::from("main"), rules: Session::default() };
        let of = |text: &str| parse(text, &AgentId::from("main"), &settings);
        assert!(of("{\"main\": {\"sessionId\": \"s\", ").unwrap_err().starts_with("not JSON: "));
        assert_eq!(of("[]").unwrap_err(), "not a JSON object of sessions");
        assert_eq!(of("{ // mine\n main: {sessionId: 's', updatedAt: 3,} }").unwrap().rows.len(), 1);
        assert_eq!(of("{}").unwrap(), Parsed::default());
    }

    #[test]
    fn only_the_first_problems_are_told() {
        let many: Map<String, Value> = (0..200).map(|n| (format!("k{n}"), json!(n))).collect();
        let parsed = read(&Value::Object(many));
        assert_eq!((parsed.problems.len(), parsed.problems.last().map(String::as_str)), (TOLD + 1, Some("and 150 more")));
    }
}
