//! Hints for forms that edit the config, derived from the schema: names, explanations, what is secret, what is for experts.

use serde_json::{Map, Value, json};

use super::key_path::{KeyPath, Step};
use super::schema::{flag, for_each_key_of};

/// One hint per key, by its dotted path with `*` for entries of lists and maps.
#[must_use]
pub fn ui_hints(schema: &Value) -> Map<String, Value> {
    let mut hints = Map::new();
    let mut order = 0;
    for_each_key_of(schema, &mut |path, part| {
        let mut hint = hint(path, part);
        if path.0.len() == 1 {
            order += 10;
            hint.insert("order".to_owned(), order.into());
        }
        // The two forms of a model share their path; the first one says it.
        hints.entry(dotted(path)).or_insert(Value::Object(hint));
    });
    hints
}

/// The hint of one key.
#[must_use]
pub fn hint(path: &KeyPath, part: &Value) -> Map<String, Value> {
    let mut hint = Map::new();
    if let Some(Step::Key(key)) = path.0.last()
        && key != "*"
    {
        hint.insert("label".to_owned(), words(key).into());
    }
    if let Some(Step::Key(section)) = path.0.first() {
        hint.insert("group".to_owned(), section.clone().into());
    }
    if let Some(help) = part.get("description") {
        hint.insert("help".to_owned(), help.clone());
    }
    if let Some(default) = part.get("default").filter(|default| !default.is_null() && !default.is_object()) {
        let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        hint.insert("placeholder".to_owned(), text.into());
    }
    if flag(part, "x-secret") {
        hint.insert("sensitive".to_owned(), json!(true));
    }
    if part.get("x-acts") == Some(&Value::Bool(false)) {
        hint.insert("advanced".to_owned(), json!(true));
    }
    hint
}

/// The path with `*` for entries of lists, as front ends look hints up.
#[must_use]
pub fn dotted(path: &KeyPath) -> String {
    let step = |step: &Step| match step {
        Step::Key(key) => key.clone(),
        Step::Index(_) => "*".to_owned(),
    };
    path.0.iter().map(step).collect::<Vec<_>>().join(".")
}

/// `maxCallsPerConnection` as “Max calls per connection”.
fn words(key: &str) -> String {
    let mut text = String::new();
    for c in key.chars() {
        if text.is_empty() {
            text.extend(c.to_uppercase());
        } else if c.is_uppercase() {
            text.push(' ');
            text.extend(c.to_lowercase());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::schema;

    #[test]
    fn every_key_has_a_hint_and_secrets_are_marked() {
        let hints = ui_hints(&schema());
        assert_eq!(hints["gateway.auth.token"]["sensitive"], true);
        assert_eq!(hints["gateway.limits.maxCallsPerConnection"]["label"], "Max calls per connection");
        assert_eq!(hints["gateway.port"]["placeholder"], "18789");
        assert_eq!(hints["agents.list.*.id"]["group"], "agents");
        assert!(hints["models.providers.*.apiKey"]["help"].is_string());
        assert!(hints.len() > 300, "{}", hints.len());
    }
}
