//! The reference of the protocol as Markdown: what `schema/methods.md` holds, derived from the schema document and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::schema::document;

/// Examples by method: what a client sends as `params`, and the `payload` of each answer.
pub type Examples = BTreeMap<String, (Value, Vec<Value>)>;

/// The text of `schema/methods.md`.
#[must_use]
pub fn methods_md(examples: &Examples) -> String {
    let document = document();
    let book = Book { document: &document, examples };
    let mut text = HEAD.to_owned();
    book.methods(&mut text);
    book.events(&mut text);
    book.codes(&mut text);
    book.types(&mut text);
    text
}

const HEAD: &str = "# Protocol reference

Every message is one JSON object in one WebSocket text message (on the local socket: one line).
The server's first frame is the event `connect.challenge`; the client's first request is `connect`, and nothing else is served before it.
Requests are served side by side; an answer carries the id of its request.
The same as JSON Schema: `protocol.schema.json`.

```json
{\"type\":\"req\",\"id\":\"1\",\"method\":\"agent\",\"params\":{\"message\":\"uname -a\"}}
{\"type\":\"res\",\"id\":\"1\",\"ok\":true,\"payload\":{\"runId\":\"…\",\"status\":\"accepted\"}}
{\"type\":\"event\",\"event\":\"agent\",\"payload\":{\"runId\":\"…\",\"seq\":3,\"status\":\"streaming\",\"text\":\"Linux …\\n\"},\"seq\":7}
{\"type\":\"res\",\"id\":\"1\",\"ok\":true,\"payload\":{\"runId\":\"…\",\"status\":\"ok\",\"summary\":\"…\",\"exitCode\":0}}
{\"type\":\"res\",\"id\":\"2\",\"ok\":false,\"error\":{\"code\":\"INVALID_REQUEST\",\"message\":\"…\",\"details\":{\"code\":\"RUN_NOT_FOUND\"}}}
```

Times are milliseconds since the epoch, durations milliseconds, sizes bytes.
An optional key that has no value is absent; `null` for an optional parameter means the same.
Requests are closed objects: a key that is not listed is refused, except where it says that more keys are ignored.
";

struct Book<'a> {
    document: &'a Value,
    examples: &'a Examples,
}

impl Book<'_> {
    fn methods(&self, text: &mut String) {
        text.push_str("\n## Methods\n\n| method | scope | effect | rate | what it does |\n|---|---|---|---|---|\n");
        let methods = entries(self.document.get("x-methods"));
        for (name, method) in &methods {
            let first = describe(method).split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned();
            let (effect, rate) = (word(method, "effect"), word(method, "rate"));
            let _ = writeln!(text, "| [`{name}`](#{}) | {} | {effect} | {rate} | {} |", anchor(name), scope(method), cell(&first));
        }
        for (name, method) in methods {
            self.method(text, name, method);
        }
    }

    fn method(&self, text: &mut String, name: &str, method: &Value) {
        let _ = write!(text, "\n### {name}\n\n{}\n\nScope: {}.", sentences(describe(method)), scope(method));
        match word(method, "rate") {
            "write" => text.push_str("\nCounts as a write: `gateway.limits.writesPerSecond`.\n"),
            "abort" => text.push_str("\nNever refused for load.\n"),
            _ => text.push('\n'),
        }
        let params = self.resolve(method.get("params"));
        text.push_str("\nParameters:\n\n");
        if entries(params.get("properties")).is_empty() {
            text.push_str("none.\n");
        } else {
            fields(text, params, true);
        }
        if params.get("additionalProperties").is_none() {
            text.push_str("\nMore keys are ignored.\n");
        }
        text.push_str("\nResult:\n\n");
        self.shape(text, method.get("result"));
        if let Some((params, payloads)) = self.examples.get(name) {
            let _ = write!(text, "\nExample: `params`, and the `payload` of each answer (some values left out):\n\n```json\n{params}\n");
            payloads.iter().for_each(|payload| {
                let _ = writeln!(text, "{payload}");
            });
            text.push_str("```\n");
        }
        let errors: Vec<String> = list(method.get("errors")).filter_map(Value::as_str).map(|code| format!("`{code}`")).collect();
        if !errors.is_empty() {
            let _ = writeln!(text, "\nErrors of its own: {}.", errors.join(", "));
        }
    }

    fn events(&self, text: &mut String) {
        text.push_str("\n## Events\n\nA connection gets the events its scopes allow, without asking.\n`state`: only the newest value matters, older ones may be left out. `log`: each one arrives, in order. `signal`: arrives, or the connection is closed.\n");
        for (name, event) in entries(self.document.get("x-events")) {
            let _ = write!(
                text,
                "\n### {name} (event)\n\n{}\n\nScope: {}. Class: `{}`.\n\nPayload:\n\n",
                describe(event),
                scope(event),
                word(event, "class")
            );
            self.shape(text, event.get("payload"));
        }
    }

    fn codes(&self, text: &mut String) {
        let errors = self.document.get("x-errors");
        text.push_str("\n## Errors\n\n`error.code` is one of:\n\n| code | meaning |\n|---|---|\n");
        for (code, meaning) in entries(errors.and_then(|errors| errors.get("codes"))) {
            let _ = writeln!(text, "| `{code}` | {} |", cell(meaning.as_str().unwrap_or_default()));
        }
        text.push_str("\n`error.details.code`, where there is one, is one of:\n\n| code | meaning |\n|---|---|\n");
        for (code, meaning) in entries(errors.and_then(|errors| errors.get("details"))) {
            let _ = writeln!(text, "| `{code}` | {} |", cell(meaning.as_str().unwrap_or_default()));
        }
        text.push_str("\n## Close codes\n\n| code | reason | when |\n|---|---|---|\n");
        for close in list(self.document.get("x-close")) {
            let code = close.get("code").map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "| {code} | {} | {} |", word(close, "reason"), cell(describe(close)));
        }
    }

    /// Every definition that is not the parameters or the result of a method, which stand there.
    fn types(&self, text: &mut String) {
        text.push_str("\n## Types\n");
        let roots: Vec<&str> = entries(self.document.get("x-methods"))
            .into_iter()
            .flat_map(|(_, method)| [method.get("params"), method.get("result")])
            .filter_map(target)
            .collect();
        for (name, part) in entries(self.document.get("$defs")) {
            if !roots.contains(&name) {
                let _ = writeln!(text, "\n### {name}\n\n{}\n", describe(part));
                shape(text, part);
            }
        }
    }

    /// A table of the type's fields, or a word for what has none.
    fn shape(&self, text: &mut String, part: Option<&Value>) {
        let resolved = self.resolve(part);
        match target(Some(resolved)).or_else(|| target(part).filter(|name| !name.ends_with("Result"))) {
            Some(name) => {
                let _ = writeln!(text, "{}.", link(name));
            }
            None => shape(text, resolved),
        }
    }

    fn resolve<'v>(&'v self, part: Option<&'v Value>) -> &'v Value {
        let found = target(part).and_then(|name| self.document.get("$defs")?.get(name));
        found.or(part).unwrap_or(&Value::Null)
    }
}

fn shape(text: &mut String, part: &Value) {
    if part.get("properties").is_some() {
        return fields(text, part, false);
    }
    let branches: Vec<&Value> = list(part.get("oneOf")).chain(list(part.get("anyOf"))).collect();
    if branches.is_empty() {
        let _ = writeln!(text, "{}.", kind(part));
        return;
    }
    if branches.iter().all(|branch| branch.get("const").is_some() || branch.get("enum").is_some()) {
        text.push_str("| word | meaning |\n|---|---|\n");
        for branch in branches {
            let _ = writeln!(text, "| {} | {} |", kind(branch), cell(describe(branch)));
        }
        return;
    }
    text.push_str("One of:\n");
    for branch in branches {
        if branch.get("properties").is_some() {
            let _ = writeln!(text, "\n{}\n", describe(branch));
            fields(text, branch, false);
        } else {
            let _ = writeln!(text, "\n- {}", kind(branch));
        }
    }
}

fn fields(text: &mut String, part: &Value, params: bool) {
    let properties = entries(part.get("properties"));
    let required: Vec<&str> = list(part.get("required")).filter_map(Value::as_str).collect();
    if let Some(of) = target(Some(part)) {
        let _ = writeln!(text, "All keys of {}, and:\n", link(of));
    }
    let _ = writeln!(text, "| key | type | {} | meaning |\n|---|---|---|---|", if params { "required" } else { "always" });
    for (name, field) in properties {
        let mark = if required.contains(&name) { "yes" } else { "" };
        let _ = writeln!(text, "| `{name}` | {} | {mark} | {} |", cell(&kind(field)), cell(describe(field)));
    }
}

fn kind(part: &Value) -> String {
    if let Some(name) = target(Some(part)) {
        return link(name);
    }
    if let Some(only) = part.get("const") {
        return format!("`{only}`");
    }
    if let Some(words) = part.get("enum") {
        return list(Some(words)).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    let branches: Vec<String> = list(part.get("anyOf")).chain(list(part.get("oneOf"))).map(kind).filter(|kind| kind != "null").collect();
    if !branches.is_empty() {
        return branches.join(" or ");
    }
    let names: Vec<&str> = match part.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        other => list(other).filter_map(Value::as_str).filter(|name| *name != "null").collect(),
    };
    match names.as_slice() {
        [] => "any JSON".to_owned(),
        ["array"] => part.get("items").map_or_else(|| "array".to_owned(), |items| format!("array of {}", kind(items))),
        ["object"] => match part.get("additionalProperties").filter(|inner| inner.is_object()) {
            Some(inner) => format!("object of {} by name", kind(inner)),
            None => "object".to_owned(),
        },
        ["string"] => format!("string{}", range(part, "minLength", "maxLength", " characters")),
        ["integer"] => format!("integer{}", range(part, "minimum", "maximum", "")),
        names => names.join(" or "),
    }
}

/// The largest integer that JSON readers keep exactly stands in every integer's schema; said once, it is enough.
const MAX_SAFE: u64 = (1 << 53) - 1;

fn range(part: &Value, least: &str, most: &str, unit: &str) -> String {
    let least = part.get(least).filter(|n| n.as_u64() != Some(0));
    let most = part.get(most).filter(|n| !matches!(n.as_u64(), Some(MAX_SAFE | 0xffff_ffff)) && n.as_i64() != Some(i64::from(i32::MAX)));
    let least = least.filter(|n| n.as_i64() != Some(i64::from(i32::MIN)));
    match (least, most) {
        (Some(least), Some(most)) => format!(", {least} to {most}{unit}"),
        (Some(least), None) => format!(", at least {least}{unit}"),
        (None, Some(most)) => format!(", at most {most}{unit}"),
        (None, None) => String::new(),
    }
}

fn target(part: Option<&Value>) -> Option<&str> {
    part?.get("$ref")?.as_str()?.rsplit('/').next()
}

fn link(name: &str) -> String {
    format!("[{name}](#{})", anchor(name))
}

/// The anchor of a heading, as Markdown viewers make it.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace('.', "")
}

fn entries(object: Option<&Value>) -> Vec<(&str, &Value)> {
    object.and_then(Value::as_object).into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
}

fn list(array: Option<&Value>) -> impl Iterator<Item = &Value> {
    array.and_then(Value::as_array).into_iter().flatten()
}

fn word<'v>(part: &'v Value, key: &str) -> &'v str {
    part.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn describe(part: &Value) -> &str {
    word(part, "description")
}

fn scope(part: &Value) -> String {
    part.get("scope").and_then(Value::as_str).map_or_else(|| "none".to_owned(), |scope| format!("`{scope}`"))
}

/// One sentence per line.
fn sentences(text: &str) -> String {
    text.replace(". ", ".\n")
}

fn cell(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::codes::DETAIL_CODES;
    use crate::protocol::event::EVENTS;
    use crate::rpc::methods::METHODS;

    #[test]
    fn every_method_event_and_code_has_its_place() {
        let text = methods_md(&Examples::new());
        for entry in METHODS {
            assert!(text.contains(&format!("\n### {}\n", entry.name)), "{}", entry.name);
        }
        for event in EVENTS {
            assert!(text.contains(&format!("\n### {} (event)\n", event.name)), "{}", event.name);
        }
        for code in DETAIL_CODES {
            assert!(text.contains(&format!("| `{}` |", code.name)), "{}", code.name);
        }
        for wanted in [
            "| `message` | string, at least 1 characters | yes | What the agent is to do",
            "| `sessionKey` | string, 1 to 512 characters | yes |",
            "| [`runs.abort`](#runsabort) | `operator.write` |",
            "Errors of its own: `RUN_NOT_FOUND`, `CURSOR_AHEAD`.",
            "| 1012 | service restart |",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing");
        }
    }

    #[test]
    fn every_link_has_its_heading() {
        let text = methods_md(&Examples::new());
        let headings: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("### ")).map(anchor).collect();
        for part in text.split("](#").skip(1) {
            let name = part.split(')').next().unwrap();
            assert!(headings.iter().any(|heading| heading == name), "#{name}");
        }
    }

    #[test]
    fn every_row_has_the_columns_of_its_table() {
        let text = methods_md(&Examples::new());
        let mut columns = 0;
        for line in text.lines() {
            let bars = line.replace("\\|", "").matches('|').count();
            if line.starts_with("|---") {
                columns = bars;
            } else if line.starts_with("| `") {
                assert_eq!(bars, columns, "{line}");
            }
        }
    }

    #[test]
    fn an_example_stands_with_its_method() {
        let examples = Examples::from([("health".to_owned(), (json!({ "probe": true }), vec![json!({ "ok": true })]))]);
        let text = methods_md(&examples);
        let health = text.split("\n### health\n").nth(1).unwrap().split("\n### ").next().unwrap();
        assert!(health.contains("{\"probe\":true}\n{\"ok\":true}\n"), "{health}");
    }
}
