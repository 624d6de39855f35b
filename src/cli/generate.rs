//! `gen`, a hidden command for who works on the program: writes the files of `schema/` and `docs/matrix.md`, which are derived from the code and committed. A test compares them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::error::CliError;
use super::matrix;
use super::output::Output;
use crate::config::reference::reference_md;
use crate::config::schema::{derived, schema_text};
use crate::rpc::reference::{Examples, methods_md};
use crate::rpc::schema::{params_text, protocol_schema};

/// Write the generated files of the repository anew
#[derive(Args, Clone, Debug)]
pub struct GenArgs {
    /// The repository
    #[arg(value_name = "DIR", default_value = ".")]
    pub root: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A file cannot be written.
pub fn run(args: &GenArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let failed = |error: io::Error| CliError::Local(format!("cannot write the files: {error}"));
    for (path, text) in generated(&args.root) {
        let target = args.root.join(&path);
        if fs::read_to_string(&target).is_ok_and(|old| old == text) {
            continue;
        }
        target.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        fs::write(&target, text).map_err(failed)?;
        out.line(&path)?;
    }
    Ok(super::error::OK)
}

/// Every generated file: its path in the repository at `root`, and its text. The examples come from the vectors there.
#[must_use]
pub fn generated(root: &Path) -> Vec<(String, String)> {
    let examples = examples(&root.join("tests/vectors/methods"));
    vec![
        ("schema/protocol.schema.json".to_owned(), protocol_schema()),
        ("schema/params.json".to_owned(), params_text()),
        ("schema/config.schema.json".to_owned(), schema_text()),
        ("schema/methods.md".to_owned(), methods_md(&examples)),
        ("schema/config.md".to_owned(), reference_md(&derived())),
        ("docs/matrix.md".to_owned(), matrix::page(&matrix::find(root))),
    ]
}

/// The first case of each method's vectors that is answered well. No vectors, no examples.
fn examples(dir: &Path) -> Examples {
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    files
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
            let vectors: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
            let example = vectors.get("cases")?.as_array()?.iter().find_map(example)?;
            Some((name, example))
        })
        .collect()
}

fn example(case: &Value) -> Option<(Value, Vec<Value>)> {
    let params = case.pointer("/send/params").filter(|params| params.is_object())?;
    let expected = match case.get("expect")? {
        Value::Array(frames) => frames.clone(),
        frame => vec![frame.clone()],
    };
    let payloads: Option<Vec<Value>> =
        expected.iter().map(|frame| frame.get("payload").filter(|_| frame.get("error").is_none()).map(shown)).collect();
    payloads.map(|payloads| (shown(params), payloads))
}

/// What a vector expects, as a reader is shown it: some value that fits where the vector has a rule.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("{{key}}", "nightly-1").into(),
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::Object(object) => match object.iter().next() {
            Some((rule, least)) if rule == "$min" => least.clone(),
            Some((rule, Value::String(kind))) if rule == "$type" => match kind.as_str() {
                "integer" | "number" => 1.into(),
                "boolean" => true.into(),
                "array" => Value::Array(Vec::new()),
                "object" => Value::Object(Map::new()),
                _ => "…".into(),
            },
            Some((rule, one)) if rule == "$some" => Value::Array(vec![shown(one)]),
            Some((rule, _)) if rule == "$length" => Value::Array(vec!["…".into()]),
            Some((rule, _)) if rule.starts_with('$') && rule != "$closed" => "…".into(),
            _ => object
                .iter()
                .filter(|(key, value)| *key != "$closed" && value.get("$absent").is_none())
                .map(|(key, value)| (key.clone(), shown(value)))
                .collect(),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_once_and_left_alone_when_they_are_right() {
        let root = tempfile::tempdir().unwrap();
        let args = GenArgs { root: root.path().to_owned() };
        let written = || {
            let (mut result, mut talk) = (Vec::new(), Vec::new());
            assert_eq!(run(&args, &mut Output { result: &mut result, talk: &mut talk }).unwrap(), 0);
            String::from_utf8(result).unwrap().lines().count()
        };
        assert_eq!((written(), written()), (6, 0));
        fs::write(root.path().join("schema/config.md"), "old").unwrap();
        assert_eq!(written(), 1);
    }

    #[test]
    fn the_first_good_case_of_a_vector_is_the_example() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("health.json"), r#"{"cases":[{"send":{"params":{"x":1}},"expect":{"error":{}}},{"send":{"params":{"id":"{{key}}"}},"expect":{"payload":{"$closed":true,"ok":{"$type":"integer"}}}}]}"#).unwrap();
        fs::write(root.path().join("status.json"), "not JSON").unwrap();
        let examples = examples(root.path());
        assert_eq!(examples.len(), 1);
        let (params, payloads) = &examples["health"];
        assert_eq!((params.to_string(), payloads[0].to_string()), (r#"{"id":"nightly-1"}"#.to_owned(), r#"{"ok":1}"#.to_owned()));
    }
}
