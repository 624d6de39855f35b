//! The reference of all keys as Markdown, derived from the schema: what `schema/config.md` holds.

use std::fmt::Write as _;

use serde_json::Value;

use super::key_path::{KeyPath, Step};
use super::schema::{flag, for_each_key_of};

/// The text of `schema/config.md`, for this schema.
#[must_use]
pub fn reference_md(schema: &Value) -> String {
    let mut text = HEAD.to_owned();
    let sections = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let (known, idle): (Vec<_>, Vec<_>) = sections.partition(|(_, part)| !flag(part, "x-open"));
    for (name, part) in known {
        section(&mut text, schema, name, part);
    }
    text.push_str(
        "\n## Accepted without effect\n\nSections of the original that this version does not act on. Any keys are accepted in them, and a warning names each at start.\n\n",
    );
    for (name, part) in idle {
        let _ = writeln!(text, "- `{name}`: {}", describe(part));
    }
    text
}

const HEAD: &str = "# Configuration reference

The file is JSON5 at `~/.skykoi/skykoi.json` (`SKYKOI_STATE_DIR`, `SKYKOI_CONFIG_PATH`, flags `--state-dir`, `--config`).
Flags win over the environment, that over the file, that over the defaults.
An unknown key or a wrong value refuses to start with exit code 78; `skykoi-gateway config check` says where and why, `config explain KEY` says who set a key.
`$include` takes in files of the same directory; `${NAME}` in a text is replaced from the environment or from `env`.

A running gateway watches the file and those it includes. The last column says what a change does to it: *hot*: it is taken at once; *restart*: the gateway starts itself anew, and runs go on meanwhile (`gateway.reload.mode` can forbid that); *none*: nothing, because this version does not act on the key.
In the paths `[]` stands for an entry of a list and `*` for a name of your own.
Keys marked † are accepted, but this version does not act on them.
";

fn section(text: &mut String, schema: &Value, name: &str, part: &Value) {
    let _ = write!(text, "\n## {name}\n\n{}{}\n\n", describe(part), if is_idle(part) { " †" } else { "" });
    if part.get("properties").is_none() {
        let _ = writeln!(text, "{HEADER}\n{}", row(name, part));
        return;
    }
    let _ = writeln!(text, "{HEADER}");
    let mut last = String::new();
    for_each_key_of(schema, &mut |path, part| {
        let inside = path.0.len() > 1 && path.0.first() == Some(&Step::Key(name.to_owned()));
        let shown = shown(path);
        // The two forms of a model share their path; one row says both.
        if inside && shown != last && !is_plain_entry(path, part) {
            let _ = writeln!(text, "{}", row(&shown, part));
            last = shown;
        }
    });
}

const HEADER: &str = "| key | type | default | meaning | change |\n|---|---|---|---|---|";

fn is_idle(part: &Value) -> bool {
    part.get("x-acts") == Some(&Value::Bool(false))
}

/// An entry of a list or map whose type the parent's row says already.
fn is_plain_entry(path: &KeyPath, part: &Value) -> bool {
    let entry = matches!(path.0.last(), Some(Step::Index(_))) || path.0.last() == Some(&Step::Key("*".to_owned()));
    entry && part.get("description").is_none_or(|_| part.get("properties").is_some())
}

fn shown(path: &KeyPath) -> String {
    path.to_string().replace("[0]", "[]").replace("[\"*\"]", ".*")
}

fn describe(part: &Value) -> &str {
    part.get("description").and_then(Value::as_str).unwrap_or_default()
}

fn row(path: &str, part: &Value) -> String {
    let mark = if is_idle(part) { " †" } else { "" };
    let default = part.get("default").map(|value| format!("`{value}`")).unwrap_or_default();
    let reload = part.get("x-reload").and_then(Value::as_str).unwrap_or_default();
    let meaning = describe(part).replace(['\n', '\r'], " ").replace('|', "\\|");
    format!("| `{path}`{mark} | {} | {} | {meaning} | {reload} |", kind(part).replace('|', "\\|"), default.replace('|', "\\|"))
}

fn kind(part: &Value) -> String {
    if let Some(words) = part.get("enum").and_then(Value::as_array) {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ");
    }
    if let Some(forms) = part.get("anyOf").and_then(Value::as_array) {
        return forms.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let word = match part.get("type").and_then(Value::as_str) {
        Some("string") if flag(part, "x-secret") => "secret text",
        Some("string") => "text",
        Some("integer") => "whole number",
        Some("number") => "number",
        Some("boolean") => "true or false",
        Some("array") => return list_kind(part),
        Some("object") if part.get("additionalProperties").is_some_and(Value::is_object) && part.get("properties").is_none() => {
            "object by name"
        }
        Some("object") => "object",
        _ => "any",
    };
    let limit = |keyword: &str| part.get(keyword).map(ToString::to_string);
    match (limit("minimum"), limit("maximum")) {
        (Some(least), Some(most)) => format!("{word}, {least} to {most}"),
        (Some(least), None) if least != "0" => format!("{word}, at least {least}"),
        (None, Some(most)) => format!("{word}, at most {most}"),
        _ => word.to_owned(),
    }
}

fn list_kind(part: &Value) -> String {
    match part.get("items").map(kind).as_deref() {
        Some("text") => "list of texts".to_owned(),
        Some("object") => "list of objects".to_owned(),
        Some(other) if other != "any" => format!("list of {other}"),
        _ => "list".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::derived;

    #[test]
    fn every_key_has_a_row_with_type_default_meaning_and_change() {
        let text = reference_md(&derived());
        for wanted in [
            "| `gateway.port` | whole number, 0 to 65535 | `18789` | TCP port; 0 takes any free port",
            "| `gateway.auth.token` | secret text |  | The shared token",
            "| `agents.list[].id` | text |",
            "| `models.providers.*.baseUrl` | text |",
            "| `agents.defaults.model` | text or object |",
            "| `gateway.reload.mode` | `\"off\"` `\"restart\"` `\"hot\"` `\"hybrid\"` | `\"hybrid\"` | Which changes are taken. | hot |",
            "## exec\n",
            "- `channels`: Message channels.",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing");
        }
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
        }
    }

    #[test]
    fn no_path_has_two_rows() {
        let text = reference_md(&derived());
        let mut keys = text.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('`').nth(1)).collect::<Vec<_>>();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert!(all > 300, "{all}");
    }
}
