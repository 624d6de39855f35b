//! The text of a configuration: read, checked, shown without its secrets, and changed in place.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use skykoi_gateway::config::check::{against_schema, typed};
use skykoi_gateway::config::edit::{text, tree};
use skykoi_gateway::config::key_path::Step;
use skykoi_gateway::config::parse::parse;
use skykoi_gateway::config::redact::redacted;
use skykoi_gateway::config::schema::schema;

use super::{Target, outcome, shape};

pub const TARGET: Target = Target {
    name: "config",
    words: &[
        "{",
        "}",
        "[",
        "]",
        "[[[[[[[[",
        "'",
        "\"",
        ":",
        ",",
        "//",
        "/*",
        "*/",
        "\\\n",
        "\\u{",
        "\\x00",
        "\u{2028}",
        "\u{feff}",
        "gateway",
        "auth",
        "token",
        "agents",
        "$include",
        "${HOME}",
        "${",
        "$${",
        "+",
        "-",
        "0x",
        "__proto__",
        "defaults",
        "mode: 'local'",
        "port: 0",
        "models: {providers: {a: {apiKey: 'x'}}}",
        "env: {KEY: 'x'}",
        "null",
        "true",
    ],
    max: 16 * 1024,
    seeds: vectors,
    run,
};

/// The good and bad files of the vectors.
fn vectors() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/config");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json5"))
        .collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

thread_local! {
    static SCHEMA: Arc<Value> = schema();
}

fn run(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    let value = match parse(Path::new("f"), text) {
        Ok(value) => value,
        Err(error) => {
            // A text that nothing can be read from cannot be shown either, or is shown without what is secret: it must only not fail.
            SCHEMA.with(|schema| drop(redacted(text, schema)));
            return outcome(shape(&error.to_string()));
        }
    };
    // What the reader takes, the editor must find its way in.
    assert!(tree::tree(text).is_some(), "read, but not understood by the editor");
    shown_without_secrets(text, &value);
    changed_in_place(text, &value);
    let problems = against_schema(&value);
    let fits = problems.is_empty() && typed(&value).is_ok();
    outcome((fits, problems.iter().take(4).map(|problem| shape(&problem.to_string())).collect::<Vec<_>>()))
}

fn shown_without_secrets(text: &str, value: &Value) {
    let Some(secret) = value.pointer("/gateway/auth/token").and_then(Value::as_str).filter(|secret| secret.len() >= 8) else { return };
    let shown = SCHEMA.with(|schema| redacted(text, schema)).unwrap();
    let shown = parse(Path::new("f"), &shown).unwrap();
    let left = shown.pointer("/gateway/auth/token").and_then(Value::as_str).unwrap_or_default();
    assert!(left != secret || secret.starts_with("${"), "the token is shown");
}

fn changed_in_place(text: &str, value: &Value) {
    let Some((key, _)) = value.as_object().and_then(|object| object.iter().next()) else { return };
    let path = [Step::Key(key.clone())];
    let changed = text::replace(text, &path, &json!(1)).unwrap();
    let mut wanted = value.clone();
    wanted[key] = json!(1);
    assert_eq!(parse(Path::new("f"), &changed).unwrap(), wanted, "{changed}");
    let removed = text::remove(text, &path).unwrap();
    wanted.as_object_mut().unwrap().shift_remove(key);
    assert_eq!(parse(Path::new("f"), &removed).unwrap(), wanted, "{removed}");
}
