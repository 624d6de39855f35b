//! Patterns: JSON that a frame must match. Described for their writers in `tests/vectors/README.md`.

use serde_json::{Map, Value, json};

use crate::rpc::validate::Checker;

/// Values that patterns have captured, by their names.
pub type Vars = Map<String, Value>;

/// Longest value that a mismatch shows, in characters.
const SHOWN: usize = 300;

/// Captures what it matches: `{"$set": "name"}`, or `{"$set": {"name": pattern}}`.
const SET: &str = "$set";
/// Beside other keys of an object: it may have no key more.
const CLOSED: &str = "$closed";

/// The first place at which a value is not what a pattern wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// JSON pointer into the value.
    pub path: String,
    /// What should stand there.
    pub expected: String,
    /// What does.
    pub got: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, expected, got } = self;
        write!(f, "{}expected {expected}, got {got}", if path.is_empty() { String::new() } else { format!("{path}: ") })
    }
}

/// Matches a value, and adds what was captured to `vars`; when it does not match, nothing is added.
///
/// # Errors
/// Where and how it does not match.
pub fn matches(pattern: &Value, value: Option<&Value>, vars: &mut Vars) -> Result<(), Mismatch> {
    let mut captured = Vars::new();
    differs(pattern, value, "", &mut captured)?;
    vars.extend(captured);
    Ok(())
}

/// Whether every matcher in a pattern is known and has the argument that it needs.
///
/// # Errors
/// What is wrong with it.
pub fn check(pattern: &Value) -> Result<(), String> {
    if let Some((name, argument)) = matcher(pattern) {
        return check_matcher(name, argument);
    }
    match pattern {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| *key != CLOSED)
            .try_for_each(|(key, part)| if key.starts_with('$') { Err(format!("{key} stands beside other keys")) } else { check(part) }),
        Value::Array(items) => items.iter().try_for_each(check),
        _ => Ok(()),
    }
}

fn check_matcher(name: &str, argument: &Value) -> Result<(), String> {
    let good = match name {
        SET => match argument {
            Value::String(_) => true,
            Value::Object(map) => return if map.len() == 1 { map.values().try_for_each(check) } else { Err("$set takes one name".into()) },
            _ => false,
        },
        // Variables are only filled in when the case is played.
        "$regex" => return regex(&json!(argument.as_str().map(|text| text.replace("{{", "").replace("}}", "")))).map(drop),
        "$type" | "$prefix" | "$contains" => argument.is_string(),
        "$min" | "$max" => argument.is_number() || argument.as_str().is_some_and(|text| text.starts_with("{{")),
        "$length" => argument.is_u64(),
        "$any" | "$absent" => argument == &Value::Bool(true),
        "$all" | "$or" => return argument.as_array().ok_or(format!("{name} takes a list"))?.iter().try_for_each(check),
        "$optional" | "$each" | "$some" | "$not" => return check(argument),
        _ => return Err(format!("there is no matcher {name}")),
    };
    if good { Ok(()) } else { Err(format!("{name} cannot take {argument}")) }
}

/// The one key with `$` of an object that stands for values and not for itself.
fn matcher(pattern: &Value) -> Option<(&str, &Value)> {
    let map: &Map<String, Value> = pattern.as_object()?;
    let (key, argument) = map.iter().next()?;
    (map.len() == 1 && key.starts_with('$') && key != CLOSED).then_some((key.as_str(), argument))
}

fn differs(pattern: &Value, value: Option<&Value>, at: &str, vars: &mut Vars) -> Result<(), Mismatch> {
    if let Some((name, argument)) = matcher(pattern) {
        return match_one(name, argument, value, at, vars);
    }
    let Some(found) = value else { return Err(wrong(at, shown(pattern), None)) };
    match (pattern, found) {
        (Value::Object(wanted), Value::Object(got)) => {
            if wanted.contains_key(CLOSED)
                && let Some((key, extra)) = got.iter().find(|(key, _)| !wanted.contains_key(*key))
            {
                return Err(wrong(&format!("{at}/{key}"), "no such key".to_owned(), Some(extra)));
            }
            wanted
                .iter()
                .filter(|(key, _)| *key != CLOSED)
                .try_for_each(|(key, wanted)| differs(wanted, got.get(key), &format!("{at}/{key}"), vars))
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            let mut pairs = wanted.iter().zip(got).enumerate();
            pairs.try_for_each(|(n, (wanted, got))| differs(wanted, Some(got), &format!("{at}/{n}"), vars))
        }
        _ if pattern == found => Ok(()),
        _ => Err(wrong(at, shown(pattern), value)),
    }
}

fn match_one(name: &str, argument: &Value, value: Option<&Value>, at: &str, vars: &mut Vars) -> Result<(), Mismatch> {
    match (name, value) {
        ("$absent", None) | ("$optional", None) => return Ok(()),
        ("$absent", Some(_)) => return Err(wrong(at, "nothing".to_owned(), value)),
        (_, None) => return Err(wrong(at, describe(name, argument), None)),
        _ => {}
    }
    let Some(found) = value else { return Ok(()) };
    let text = || found.as_str().zip(argument.as_str());
    let number = || found.as_f64().zip(argument.as_f64());
    let parts = || argument.as_array().into_iter().flatten();
    let good = match name {
        SET => return capture(argument, found, at, vars),
        "$optional" => return differs(argument, value, at, vars),
        "$any" => true,
        "$type" => argument == type_of(found),
        "$min" => number().is_some_and(|(found, least)| found >= least),
        "$max" => number().is_some_and(|(found, most)| found <= most),
        "$prefix" => text().is_some_and(|(found, start)| found.starts_with(start)),
        "$contains" => text().is_some_and(|(found, part)| found.contains(part)),
        "$regex" => regex(argument).is_ok_and(|checker| checker.check(found).is_ok()),
        "$length" => found.as_array().map(Vec::len) == argument.as_u64().and_then(|n| usize::try_from(n).ok()),
        "$each" if found.is_array() => {
            let mut items = found.as_array().into_iter().flatten().enumerate();
            return items.try_for_each(|(n, item)| differs(argument, Some(item), &format!("{at}/{n}"), vars));
        }
        "$some" => found.as_array().is_some_and(|items| items.iter().any(|item| matches(argument, Some(item), vars).is_ok())),
        "$all" => found.as_array().is_some_and(|items| all(parts(), items, vars)),
        "$or" => parts().any(|pattern| matches(pattern, Some(found), vars).is_ok()),
        "$not" => matches(argument, Some(found), &mut Vars::new()).is_err(),
        _ => false,
    };
    if good { Ok(()) } else { Err(wrong(at, describe(name, argument), value)) }
}

fn capture(argument: &Value, found: &Value, at: &str, vars: &mut Vars) -> Result<(), Mismatch> {
    let (name, pattern) = match argument {
        Value::Object(map) => match map.iter().next() {
            Some((name, pattern)) => (name.as_str(), Some(pattern)),
            None => return Ok(()),
        },
        name => (name.as_str().unwrap_or_default(), None),
    };
    if let Some(pattern) = pattern {
        differs(pattern, Some(found), at, vars)?;
    }
    vars.insert(name.to_owned(), found.clone());
    Ok(())
}

/// Whether each pattern has an item of its own, in any order. The first item that matches is taken, so the narrow patterns should come first.
fn all<'p>(mut patterns: impl Iterator<Item = &'p Value>, items: &[Value], vars: &mut Vars) -> bool {
    let mut left: Vec<&Value> = items.iter().collect();
    patterns.all(|pattern| match left.iter().position(|item| matches(pattern, Some(item), vars).is_ok()) {
        Some(n) => {
            left.remove(n);
            true
        }
        None => false,
    })
}

fn regex(argument: &Value) -> Result<Checker, String> {
    Checker::new(&json!({ "type": "string", "pattern": argument }))
}

fn wrong(path: &str, expected: String, got: Option<&Value>) -> Mismatch {
    Mismatch { path: path.to_owned(), expected, got: got.map_or_else(|| "nothing".to_owned(), shown) }
}

fn describe(name: &str, argument: &Value) -> String {
    match name {
        "$any" | SET => "anything".to_owned(),
        "$optional" => shown(argument),
        _ => format!("{name} {}", shown(argument)),
    }
}

/// A value as it stands in a text, cut when it is long.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}… ({} bytes)", text.get(..at).unwrap_or_default(), text.len()),
        None => text,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mismatch(pattern: &Value, value: &Value) -> Option<String> {
        matches(pattern, Some(value), &mut Vars::new()).err().map(|mismatch| mismatch.to_string())
    }

    #[test]
    fn patterns_match_what_their_description_says() {
        let good = [
            (json!({"a": 1}), json!({"a": 1, "b": 2})),
            (json!({"a": {"$any": true}, "c": {"$absent": true}}), json!({"a": null})),
            (json!({"$type": "integer"}), json!(3)),
            (json!({"$min": 3}), json!(3)),
            (json!({"$max": 3}), json!(2.5)),
            (json!({"$prefix": "ab"}), json!("abc")),
            (json!({"$contains": "b"}), json!("abc")),
            (json!({"$regex": "^[a-c]{3}$"}), json!("abc")),
            (json!({"$each": {"$type": "string"}}), json!(["a", "b"])),
            (json!({"$some": {"id": 1}}), json!([{"id": 0}, {"id": 1, "x": 1}])),
            (json!({"$all": [{"id": 1}, {"id": 0}]}), json!([{"id": 0}, {"id": 7}, {"id": 1}])),
            (json!({"$or": [1, {"$type": "string"}]}), json!("x")),
            (json!({"$not": 3}), json!(4)),
            (json!({"$length": 2}), json!([1, 2])),
            (json!({"$closed": true, "a": 1}), json!({"a": 1})),
            (json!({"a": {"$optional": {"$type": "string"}}}), json!({})),
            (json!({"a": {"$optional": {"$type": "string"}}}), json!({"a": "x"})),
        ];
        for (pattern, value) in good {
            assert_eq!(mismatch(&pattern, &value), None, "{pattern}");
            assert_eq!(check(&pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn the_first_difference_is_named_with_its_place() {
        let bad = [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), "/a/b: expected 1, got 2"),
            (json!({"a": {"$any": true}}), json!({}), "/a: expected anything, got nothing"),
            (json!({"a": {"$absent": true}}), json!({"a": null}), "/a: expected nothing, got null"),
            (json!({"$closed": true, "a": 1}), json!({"a": 1, "b": 1}), "/b: expected no such key, got 1"),
            (json!([1]), json!([1, 2]), "expected [1], got [1,2]"),
            (json!({"$type": "integer"}), json!(1.5), "expected $type \"integer\", got 1.5"),
            (json!({"$each": 1}), json!(1), "expected $each 1, got 1"),
            (json!({"$each": 1}), json!([1, 2]), "/1: expected 1, got 2"),
            (json!({"$some": 3}), json!([1, 2]), "expected $some 3, got [1,2]"),
            (json!({"$all": [1, 1]}), json!([1, 2]), "expected $all [1,1], got [1,2]"),
            (json!({"$regex": "^x$"}), json!("xx"), "expected $regex \"^x$\", got \"xx\""),
            (json!({"$regex": "1"}), json!(1), "expected $regex \"1\", got 1"),
            (json!({"$not": 3}), json!(3), "expected $not 3, got 3"),
            (json!({"a": {"$optional": 1}}), json!({"a": 2}), "/a: expected 1, got 2"),
        ];
        for (pattern, value, wanted) in bad {
            assert_eq!(mismatch(&pattern, &value).as_deref(), Some(wanted), "{pattern}");
        }
    }

    #[test]
    fn what_is_captured_is_kept_only_when_the_whole_matches() {
        let mut vars = Vars::new();
        let pattern = json!({"a": {"$set": "a"}, "b": {"$set": {"b": {"$type": "integer"}}}});
        assert!(matches(&pattern, Some(&json!({"a": 1, "b": "x"})), &mut vars).is_err());
        assert!(vars.is_empty());
        matches(&pattern, Some(&json!({"a": 1, "b": 2})), &mut vars).unwrap();
        assert_eq!(Value::Object(vars.clone()), json!({"a": 1, "b": 2}));
        matches(&json!({"$some": {"id": {"$set": "a"}, "x": 1}}), Some(&json!([{"id": 5}, {"id": 6, "x": 1}])), &mut vars).unwrap();
        assert_eq!(vars["a"], 6);
    }

    #[test]
    fn patterns_that_could_never_have_been_meant_are_refused() {
        for bad in [
            json!({"$rgex": "x"}),
            json!({"a": [{"$min": "3"}]}),
            json!({"$regex": "("}),
            json!({"a": 1, "$any": true}),
            json!({"$or": 1}),
            json!({"$set": {}}),
            json!({"$absent": false}),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
        let names = "$any $absent $optional $type $min $max $prefix $contains $regex $length $each $some $all $or $not $set";
        let known = |name: &str| !check(&json!({ name: null })).is_err_and(|text| text.contains("no matcher"));
        assert!(names.split(' ').all(known));
    }

    #[test]
    fn long_values_are_cut() {
        let text = mismatch(&json!(1), &json!("é".repeat(1000))).unwrap();
        assert!(text.len() < 700 && text.ends_with("… (2002 bytes)"), "{text}");
    }
}
