//! `${NAME}` in texts of the config: names from the environment and from `env`, never into anybody's environment.

use std::collections::BTreeMap;

use serde_json::Value;

use super::key_path::{KeyPath, Step};
use super::problem::Problem;

/// Replaces every `${NAME}` in every text; `$${NAME}` gives the letters themselves, any other `$` stays.
///
/// A name is looked up in `environment`, then in `env.vars` and `env` of the config. All missing names are reported.
pub fn substitute(value: &mut Value, environment: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !has_reference(value) {
        return problems;
    }
    let own = own_values(value, environment);
    let lookup = |name: &str| {
        let found = environment.get(name).filter(|text| !text.is_empty());
        found.or_else(|| own.get(name)).filter(|text| !text.is_empty()).cloned()
    };
    walk(value, &mut KeyPath::default(), &lookup, &mut problems);
    problems
}

/// The values that the config gives itself. They may refer to the environment, but not to each other, so that there is no order and no circle.
fn own_values(value: &Value, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    let Some(env) = value.get("env").and_then(Value::as_object) else {
        return own;
    };
    let direct = env.iter().filter(|(key, _)| *key != "vars" && *key != "shellEnv");
    let vars = env.get("vars").and_then(Value::as_object).into_iter().flatten();
    for (name, text) in vars.chain(direct) {
        if let Some(text) = text.as_str()
            && let Ok(text) = replace(text, &|name| environment.get(name).filter(|text| !text.is_empty()).cloned())
        {
            own.insert(name.clone(), text);
        }
    }
    own
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(object) => object.values().any(has_reference),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn walk(value: &mut Value, path: &mut KeyPath, lookup: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) {
    match value {
        Value::String(text) => match replace(text, lookup) {
            Ok(replaced) => *text = replaced,
            Err(missing) => {
                problems.push(Problem::value(
                    path.clone(),
                    format!("missing env var \"{missing}\": it is referred to here, but unset or empty"),
                ));
            }
        },
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.0.push(Step::Index(index));
                walk(item, path, lookup, problems);
                path.0.pop();
            }
        }
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                path.0.push(Step::Key(key.clone()));
                walk(item, path, lookup, problems);
                path.0.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with its references replaced, or the first name that is missing.
fn replace(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some((name, after)) = from.strip_prefix('$').and_then(reference) {
            out.push_str(&lookup(name).ok_or_else(|| name.to_owned())?);
            rest = after;
        } else if let Some((name, after)) = from.strip_prefix("$$").and_then(reference) {
            out.push_str("${");
            out.push_str(name);
            out.push('}');
            rest = after;
        } else {
            out.push('$');
            rest = from.strip_prefix('$').unwrap_or_default();
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// `{NAME}` at the start of the text: the name, and what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let first = name.bytes().next()?;
    let valid =
        (first.is_ascii_uppercase() || first == b'_') && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    valid.then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn names_are_replaced_in_texts_and_nowhere_else() {
        let mut value = json!({ "${A}": ["x${A}y${B}", "$${A}", "$A ${a} ${A", "$$", "cost: 5$"], "n": 1 });
        let problems = substitute(&mut value, &environment(&[("A", "1"), ("B", "${A}")]));
        assert!(problems.is_empty());
        assert_eq!(value, json!({ "${A}": ["x1y${A}", "${A}", "$A ${a} ${A", "$$", "cost: 5$"], "n": 1 }));
    }

    #[test]
    fn missing_and_empty_names_are_all_reported_with_their_path() {
        let mut value = json!({ "a": { "b": ["x", { "c": "${GONE}" }] }, "d": "${EMPTY}" });
        let problems = substitute(&mut value, &environment(&[("EMPTY", "")]));
        let texts = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with("a.b[1].c: missing env var \"GONE\""), "{texts:?}");
        assert!(texts[1].starts_with("d: missing env var \"EMPTY\""), "{texts:?}");
    }

    #[test]
    fn values_of_the_config_serve_when_the_environment_has_none() {
        let mut value = json!({ "env": { "vars": { "A": "va", "B": "vb" }, "B": "direct", "C": "${HOME}/c" }, "x": "${A} ${B} ${C}" });
        let problems = substitute(&mut value, &environment(&[("A", "process"), ("HOME", "/h")]));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(value["x"], "process direct /h/c");
    }
}
