//! What stands for something else in a case: `{{name}}` in any text is replaced by the variable of that name, `{{name.key}}` by a part of it.

use serde_json::Value;

use super::pattern::Vars;

/// Longest text that `{{fill:N}}` makes.
const MOST: usize = 64 << 20;

/// Fills in every text of a value. A text that is nothing but one `{{name}}` becomes the variable itself, of whatever type.
///
/// # Errors
/// There is no such variable.
pub fn fill(value: &Value, vars: &Vars) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let whole = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).filter(|name| !name.contains('{'));
            match whole {
                Some(name) => look_up(name, vars)?,
                None => Value::String(fill_text(text, vars)?),
            }
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, vars)).collect::<Result<_, _>>()?),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, part)| Ok((key.clone(), fill(part, vars)?))).collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

/// Fills in a text.
///
/// # Errors
/// There is no such variable.
pub fn fill_text(text: &str, vars: &Vars) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else { break };
        filled.push_str(before);
        match look_up(name, vars)? {
            Value::String(text) => filled.push_str(&text),
            other => filled.push_str(&other.to_string()),
        }
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn look_up(name: &str, vars: &Vars) -> Result<Value, String> {
    if let Some(length) = name.strip_prefix("fill:") {
        let length = length.parse().ok().filter(|length| *length <= MOST).ok_or_else(|| format!("{{{{{name}}}}}: no length"))?;
        return Ok(Value::String("x".repeat(length)));
    }
    let mut parts = name.split('.');
    let whole = parts.next().and_then(|first| vars.get(first));
    let part = parts.fold(whole, |value, key| value?.get(key));
    part.cloned().ok_or_else(|| format!("nothing is called {{{{{name}}}}} yet"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_stand_alone_with_their_type_and_in_texts_as_text() {
        let vars = Vars::from_iter([("n".to_owned(), json!(7)), ("s".to_owned(), json!({"t": {"u": "x"}}))]);
        let filled = fill(&json!({"a": "{{n}}", "b": ["{{s.t.u}}-{{n}}", 1], "c": "{{fill:3}}", "d": "a {{ b"}), &vars).unwrap();
        assert_eq!(filled, json!({"a": 7, "b": ["x-7", 1], "c": "xxx", "d": "a {{ b"}));
        for bad in ["{{s.t.v}}", "{{n.x}}", "{{unknown}}", "a {{unknown}}", "{{fill:x}}", "{{fill:99999999999}}"] {
            assert!(fill(&json!(bad), &vars).is_err(), "{bad}");
        }
    }
}
