//! `gen`, a hidden command for who works on the program: writes the files of `schema/`, which are derived from the code and committed. A test compares them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::error::CliError;
use super::output::Output;
use crate::config::reference::reference_md;
use crate::config::schema::schema_text;
use crate::rpc::reference::{Examples, methods_md};
use crate::rpc::schema::protocol_schema;

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
        ("schema/config.schema.json".to_owned(), schema_text()),
        ("schema/methods.md".to_owned(), methods_md(&examples)),
        ("schema/config.md".to_owned(), reference_md()),
    ]
}

/// The first case of each method's vectors that is answered well. No vectors, no examples.
fn examples(dir: &Path) -> Examples {
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    files
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
            let vectors: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
            let cases = vectors.as_array().or_else(|| vectors.get("cases")?.as_array())?;
            let case = cases.iter().find(|case| case.get("params").is_some() && case.get("payload").is_some())?;
            Some((name, (case.get("params")?.clone(), case.get("payload")?.clone())))
        })
        .collect()
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
        assert_eq!((written(), written()), (4, 0));
        fs::write(root.path().join("schema/config.md"), "old").unwrap();
        assert_eq!(written(), 1);
    }

    #[test]
    fn the_first_good_case_of_a_vector_is_the_example() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("health.json"), r#"{"cases":[{"params":1,"error":{}},{"params":{},"payload":{"ok":true}}]}"#).unwrap();
        fs::write(root.path().join("status.json"), "not JSON").unwrap();
        let examples = examples(root.path());
        assert_eq!(examples.len(), 1);
        assert_eq!(examples["health"].1["ok"], true);
    }
}
