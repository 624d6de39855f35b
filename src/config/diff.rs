//! What differs between two configs, and what the difference asks of a running gateway.

use serde_json::{Map, Value};

use super::key_path::{KeyPath, Step};
use super::schema::step_into;

/// What a change of a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing: no part of this version acts on it.
    None,
    /// It is taken while the gateway runs.
    Hot,
    /// Only a start takes it.
    Restart,
}

/// The keys whose values differ; a list is one value, and a key that is missing differs from one that is there.
#[must_use]
pub fn changed(old: &Value, new: &Value) -> Vec<KeyPath> {
    let mut list = Vec::new();
    differ(Some(old), Some(new), &mut KeyPath::default(), &mut list);
    list.sort();
    list
}

fn differ(old: Option<&Value>, new: Option<&Value>, path: &mut KeyPath, list: &mut Vec<KeyPath>) {
    let none = Map::new();
    let sides = match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => Some((old, new)),
        (Some(Value::Object(old)), None) if !old.is_empty() => Some((old, &none)),
        (None, Some(Value::Object(new))) if !new.is_empty() => Some((&none, new)),
        _ => None,
    };
    let Some((old, new)) = sides else {
        if old != new {
            list.push(path.clone());
        }
        return;
    };
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        path.0.push(Step::Key(key.clone()));
        differ(old.get(key), new.get(key), path, list);
        path.0.pop();
    }
}

/// What a change of this key asks for, by the innermost part of the schema that knows it.
#[must_use]
pub fn class(schema: &Value, path: &KeyPath) -> Class {
    let mut part = schema;
    for step in &path.0 {
        let Some(below) = step_into(part, step) else { break };
        part = below;
    }
    match part.get("x-reload").and_then(Value::as_str) {
        Some("none") => Class::None,
        Some("hot") => Class::Hot,
        _ => Class::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::schema;
    use serde_json::json;

    #[test]
    fn only_leaves_that_differ_are_named_and_lists_are_one() {
        let old = json!({ "a": { "x": 1, "y": [1, 2] }, "b": 1, "c": {}, "d": { "e": { "f": 1 } } });
        let new = json!({ "a": { "x": 1, "y": [1] }, "c": { "n": null }, "b": 1, "g": { "h": true } });
        let names: Vec<String> = changed(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a.y", "c.n", "d.e.f", "g.h"]);
        assert!(changed(&old, &old).is_empty());
    }

    #[test]
    fn every_change_has_a_class_also_in_sections_with_any_keys() {
        let schema = schema();
        for (path, wanted) in [
            ("gateway.auth.token", Class::Hot),
            ("gateway.port", Class::Hot),
            ("agents.list", Class::Hot),
            ("logging.level", Class::Hot),
            ("logging.file", Class::Restart),
            ("channels.any.thing", Class::None),
            ("meta.lastTouchedAt", Class::None),
            ("env.X", Class::Hot),
        ] {
            assert_eq!(class(&schema, &KeyPath::parse(path)), wanted, "{path}");
        }
    }
}
