//! Patterns: JSON that a frame must match. Described for their writers in `tests/vectors/README.md`.

use serde_json::{Map, Value};

/// Says where and how `value` does not match, if it does not.
pub fn mismatch(pattern: &Value, value: Option<&Value>) -> Option<String> {
    differs(pattern, value, "")
}

fn differs(pattern: &Value, value: Option<&Value>, at: &str) -> Option<String> {
    if let Some(matcher) = matcher(pattern) {
        return matches_not(matcher, value, at);
    }
    let Some(value) = value else { return Some(format!("{at}: is missing")) };
    match (pattern, value) {
        (Value::Object(wanted), Value::Object(got)) => {
            if wanted.contains_key("$closed")
                && let Some(extra) = got.keys().find(|key| !wanted.contains_key(*key))
            {
                return Some(format!("{at}/{extra}: is one key too many"));
            }
            wanted
                .iter()
                .filter(|(key, _)| *key != "$closed")
                .find_map(|(key, wanted)| differs(wanted, got.get(key), &format!("{at}/{key}")))
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            wanted.iter().zip(got).enumerate().find_map(|(n, (wanted, got))| differs(wanted, Some(got), &format!("{at}/{n}")))
        }
        _ => (pattern != value).then(|| format!("{at}: {value} instead of {pattern}")),
    }
}

/// The one key with `$` of an object that stands for values and not for itself.
fn matcher(pattern: &Value) -> Option<(&str, &Value)> {
    let map: &Map<String, Value> = pattern.as_object()?;
    let (key, argument) = map.iter().next()?;
    (map.len() == 1 && key.starts_with('$') && key != "$closed").then_some((key.as_str(), argument))
}

fn matches_not((name, argument): (&str, &Value), value: Option<&Value>, at: &str) -> Option<String> {
    if name == "$absent" {
        return value.map(|value| format!("{at}: {value} should not be there"));
    }
    let Some(value) = value else { return Some(format!("{at}: is missing")) };
    let text = || value.as_str().zip(argument.as_str());
    let good = match name {
        "$any" => true,
        "$type" => argument == type_of(value),
        "$min" => value.as_f64() >= argument.as_f64(),
        "$prefix" => text().is_some_and(|(value, start)| value.starts_with(start)),
        "$contains" => text().is_some_and(|(value, part)| value.contains(part)),
        "$length" => value.as_array().map(Vec::len) == argument.as_u64().and_then(|n| usize::try_from(n).ok()),
        "$each" => {
            let each = value.as_array().into_iter().flatten().find_map(|item| differs(argument, Some(item), at));
            return each.or_else(|| (!value.is_array()).then(|| format!("{at}: {value} is no array")));
        }
        "$some" => value.as_array().is_some_and(|items| items.iter().any(|item| mismatch(argument, Some(item)).is_none())),
        "$or" => argument.as_array().is_some_and(|patterns| patterns.iter().any(|pattern| mismatch(pattern, Some(value)).is_none())),
        _ => return Some(format!("{at}: there is no matcher {name}")),
    };
    (!good).then(|| format!("{at}: {value} does not match {name} {argument}"))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[test]
fn patterns_match_what_their_description_says() {
    use serde_json::json;
    let good = [
        (json!({"a": 1}), json!({"a": 1, "b": 2})),
        (json!({"a": {"$any": true}, "c": {"$absent": true}}), json!({"a": null})),
        (json!({"$type": "integer"}), json!(3)),
        (json!({"$min": 3}), json!(3)),
        (json!({"$prefix": "ab"}), json!("abc")),
        (json!({"$contains": "b"}), json!("abc")),
        (json!({"$each": {"$type": "string"}}), json!(["a", "b"])),
        (json!({"$some": {"id": 1}}), json!([{"id": 0}, {"id": 1, "x": 1}])),
        (json!({"$or": [1, {"$type": "string"}]}), json!("x")),
        (json!({"$length": 2}), json!([1, 2])),
        (json!({"$closed": true, "a": 1}), json!({"a": 1})),
    ];
    for (pattern, value) in good {
        assert_eq!(mismatch(&pattern, Some(&value)), None, "{pattern}");
    }
    let bad = [
        (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), "/a/b: 2 instead of 1"),
        (json!({"a": {"$any": true}}), json!({}), "/a: is missing"),
        (json!({"a": {"$absent": true}}), json!({"a": null}), "/a: null should not be there"),
        (json!({"$closed": true, "a": 1}), json!({"a": 1, "b": 1}), "/b: is one key too many"),
        (json!([1]), json!([1, 2]), ": [1,2] instead of [1]"),
        (json!({"$type": "integer"}), json!(1.5), ": 1.5 does not match $type \"integer\""),
        (json!({"$each": 1}), json!(1), ": 1 is no array"),
        (json!({"$some": 3}), json!([1, 2]), ": [1,2] does not match $some 3"),
        (json!({"$regex": "x"}), json!("x"), ": there is no matcher $regex"),
    ];
    for (pattern, value, wanted) in bad {
        assert_eq!(mismatch(&pattern, Some(&value)).as_deref(), Some(wanted), "{pattern}");
    }
}
