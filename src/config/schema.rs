//! The JSON Schema of the config, derived from the types; it validates, documents, suggests names and says what is secret.
//!
//! Our own keywords: `x-secret` (never shown), `x-open` (any keys), `x-reload` (`none`, `hot` or `restart`: what a change does to a running gateway), `x-acts: false` (accepted, but this version does nothing with it).

use std::sync::{Arc, Mutex, PoisonError, Weak};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;
use super::key_path::{KeyPath, Step};

/// The committed schema; a test keeps it equal to what the types say. Reading it is much cheaper at start than deriving it, in time and in memory.
pub const COMMITTED: &str = include_str!("../../schema/config.schema.json");

/// The schema. It is parsed when somebody asks and dropped with the last who holds it: an idle gateway has no use for a megabyte of it.
#[must_use]
pub fn schema() -> Arc<Value> {
    static HELD: Mutex<Weak<Value>> = Mutex::new(Weak::new());
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.upgrade().unwrap_or_else(|| {
        let parsed = Arc::new(serde_json::from_str(COMMITTED).unwrap_or_default());
        *held = Arc::downgrade(&parsed);
        parsed
    })
}

/// The schema as the types say it.
#[must_use]
pub fn derived() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    tidy(&mut schema);
    inherit_reload(&mut schema, "none");
    schema
}

/// The part of a schema that matters for `value`: subschemas of keys that `value` does not have are left out, so that compiling it costs as much as the file is long and not as the schema is.
#[must_use]
pub fn for_value(schema: &Value, value: &Value) -> Value {
    let Value::Object(object) = schema else { return schema.clone() };
    let mut kept = Map::new();
    for (keyword, inner) in object {
        let inner = match (keyword.as_str(), inner, value) {
            ("properties", Value::Object(named), Value::Object(given)) => {
                let present = named.iter().filter_map(|(key, inner)| Some((key.clone(), for_value(inner, given.get(key)?))));
                Value::Object(present.collect())
            }
            ("anyOf" | "allOf" | "oneOf", Value::Array(branches), _) => branches.iter().map(|branch| for_value(branch, value)).collect(),
            ("properties", _, _) => Value::Object(Map::new()),
            ("items", _, Value::Array(items)) if !items.is_empty() => inner.clone(),
            ("additionalProperties", Value::Object(_), Value::Object(given)) if !given.is_empty() => inner.clone(),
            ("items" | "additionalProperties", Value::Object(_), _) => Value::Bool(true),
            ("description" | "default" | "x-words" | "x-reload" | "$schema" | "title", _, _) => continue,
            _ => inner.clone(),
        };
        kept.insert(keyword.clone(), inner);
    }
    Value::Object(kept)
}

/// The schema as the text that `schema/config.schema.json` should have.
#[must_use]
pub fn schema_text() -> String {
    let mut text = serde_json::to_string_pretty(&derived()).unwrap_or_default();
    text.push('\n');
    text
}

/// Takes out what the derivation adds and nobody writes: `null` for absent keys, and one branch per word of an enum.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(tidy);
            without_null(object);
            words_to_enum(object);
            if object.get("default").is_some_and(Value::is_null) {
                object.shift_remove("default");
            }
            if object.contains_key("properties") {
                object.shift_remove("default");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_null_branch(branch: &Value) -> bool {
    branch.get("type").and_then(Value::as_str) == Some("null")
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else {
        return;
    };
    branches.retain(|branch| !is_null_branch(branch));
    if let [Value::Object(one)] = branches.as_slice() {
        let one = one.clone();
        object.shift_remove("anyOf");
        for (key, value) in one {
            object.entry(key).or_insert(value);
        }
    }
}

/// `oneOf` constants, each with a description, become one `enum`, so that a fault can list the words; the descriptions go to `x-words`.
fn words_to_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get("oneOf") else {
        return;
    };
    let mut words = Vec::new();
    let mut meanings = Map::new();
    for branch in branches {
        let Some(word) = branch.get("const") else {
            return;
        };
        if let (Some(name), Some(meaning)) = (word.as_str(), branch.get("description")) {
            meanings.insert(name.to_owned(), meaning.clone());
        }
        words.push(word.clone());
    }
    object.shift_remove("oneOf");
    object.shift_remove("type");
    object.insert("enum".to_owned(), Value::Array(words));
    object.insert("x-words".to_owned(), Value::Object(meanings));
}

/// Every key says what its change does; sections say it once for all that is in them.
fn inherit_reload(schema: &mut Value, from: &str) {
    let Value::Object(object) = schema else {
        return;
    };
    let idle = object.get("x-acts") == Some(&Value::Bool(false));
    let own = object.get("x-reload").and_then(Value::as_str).unwrap_or(if idle { "none" } else { from }).to_owned();
    for keyword in ["properties", "anyOf"] {
        match object.get_mut(keyword) {
            Some(Value::Object(inner)) => inner.values_mut().for_each(|inner| inherit_reload(inner, &own)),
            Some(Value::Array(inner)) => inner.iter_mut().for_each(|inner| inherit_reload(inner, &own)),
            _ => {}
        }
    }
    for keyword in ["additionalProperties", "items"] {
        if let Some(inner) = object.get_mut(keyword) {
            inherit_reload(inner, &own);
        }
    }
    if object.contains_key("type") || object.contains_key("enum") || object.contains_key("anyOf") {
        object.insert("x-reload".to_owned(), own.into());
    }
}

/// The part of the schema that describes the value at `path`; `None` for a key that does not exist.
#[must_use]
pub fn part<'s>(schema: &'s Value, path: &KeyPath) -> Option<&'s Value> {
    path.0.iter().try_fold(schema, step_into)
}

/// The part of a schema one step down.
#[must_use]
pub fn step_into<'s>(schema: &'s Value, step: &Step) -> Option<&'s Value> {
    if let Some(Value::Array(branches)) = schema.get("anyOf") {
        return branches.iter().find_map(|branch| step_into(branch, step));
    }
    match step {
        Step::Index(_) => schema.get("items"),
        Step::Key(key) => {
            let named = schema.get("properties").and_then(|properties| properties.get(key));
            named.or_else(|| schema.get("additionalProperties").filter(|inner| inner.is_object()))
        }
    }
}

/// The names of the keys that an object may have, by its part of the schema.
#[must_use]
pub fn key_names(part: &Value) -> Vec<&str> {
    match part.get("anyOf") {
        Some(Value::Array(branches)) => branches.iter().flat_map(key_names).collect(),
        _ => part.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str).collect(),
    }
}

/// Whether a flag of ours is set on a part of the schema.
#[must_use]
pub fn flag(part: &Value, keyword: &str) -> bool {
    part.get(keyword).and_then(Value::as_bool).unwrap_or(false)
}

/// Visits every key that the schema names, parents first, with its path; entries of lists appear as `[0]`, keys of maps as `*`.
pub fn for_each_key(visit: &mut dyn FnMut(&KeyPath, &Value)) {
    for_each_key_of(&schema(), visit);
}

/// The same over any schema of the config.
pub fn for_each_key_of<'s>(schema: &'s Value, visit: &mut dyn FnMut(&KeyPath, &'s Value)) {
    below(schema, &mut KeyPath::default(), visit);
}

fn below<'s>(part: &'s Value, path: &mut KeyPath, visit: &mut dyn FnMut(&KeyPath, &'s Value)) {
    if let Some(Value::Array(branches)) = part.get("anyOf") {
        for branch in branches {
            below(branch, path, visit);
        }
    }
    let named = part.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut inner = named.map(|(key, inner)| (Step::Key(key.clone()), inner)).collect::<Vec<_>>();
    inner.extend(part.get("items").map(|inner| (Step::Index(0), inner)));
    inner.extend(part.get("additionalProperties").filter(|inner| inner.is_object()).map(|inner| (Step::Key("*".to_owned()), inner)));
    for (step, inner) in inner {
        path.0.push(step);
        visit(path, inner);
        below(inner, path, visit);
        path.0.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_compiles_and_says_its_dialect() {
        assert!(schema()["$schema"].as_str().unwrap().contains("2020-12"));
        jsonschema::validator_for(&schema()).unwrap();
    }

    #[test]
    fn every_object_is_closed_unless_it_is_open_or_a_map() {
        let mut objects = 0;
        for_each_key(&mut |path, part| {
            if part["type"] == "object" && !flag(part, "x-open") {
                objects += 1;
                assert!(part.get("additionalProperties").is_some(), "{path} is not closed");
            }
        });
        assert!(objects > 60, "{objects}");
        assert_eq!(schema()["additionalProperties"], false);
    }

    #[test]
    fn every_key_is_described_typed_and_says_what_its_change_does() {
        for_each_key(&mut |path, part| {
            let entry = matches!(path.0.last(), Some(Step::Index(_))) || path.0.last() == Some(&Step::Key("*".to_owned()));
            assert!(entry || part.get("description").is_some(), "{path} has no description");
            let loose = path.to_string().contains("ownerAllowFrom");
            assert!(loose || part.get("type").is_some() || part.get("enum").is_some() || part.get("anyOf").is_some(), "{path}: {part}");
            assert!(loose || matches!(part["x-reload"].as_str(), Some("none" | "hot" | "restart")), "{path}");
        });
    }

    #[test]
    fn nothing_may_be_null() {
        assert!(!schema_text().contains("\"null\""));
    }

    #[test]
    fn secrets_are_marked() {
        for path in [
            "gateway.auth.token",
            "gateway.auth.password",
            "gateway.remote.token",
            "hooks.token",
            "env.vars.X",
            "env.X",
            "models.providers.p.apiKey",
        ] {
            assert!(flag(part(&schema(), &KeyPath::parse(path)).unwrap(), "x-secret"), "{path}");
        }
        assert!(part(&schema(), &KeyPath::parse("gateway.nope")).is_none());
    }
}
