//! `exec-approvals.json`: what may run without asking, in the form that the original knows. Read whole, replaced whole, and never without saying which state of it a change was made for.
//!
//! What its words mean is the exec policy's; this is how it is kept.

use std::io;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::config::save::{lock, save};
use crate::exec::policy::entries;
pub use crate::exec::policy::entries::NAME;
use crate::workspace::beneath::Dir;

/// Largest file that is read or written, bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// The file as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// SHA-256 of its text, hexadecimal; of nothing if it is not there.
    pub hash: String,
    /// What it says, its secret included.
    pub file: Map<String, Value>,
}

impl Stored {
    /// What it says, without `socket.token`.
    #[must_use]
    pub fn shown(&self) -> Map<String, Value> {
        let mut file = self.file.clone();
        if let Some(Value::Object(socket)) = file.get_mut("socket") {
            socket.remove("token");
        }
        file
    }
}

/// Why the file was not read or not changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is a file, and the change does not say for which state of it.
    #[error("exec approvals base hash required; re-run exec.approvals.get and retry")]
    BaseRequired,
    /// Somebody else has changed it.
    #[error("exec approvals changed since last load; re-run exec.approvals.get and retry")]
    Conflict,
    /// What it says makes no sense.
    #[error("{} is not the JSON object it should be (line {line}, column {column}); mend it or move it away", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// What it would say makes no sense.
    #[error("invalid exec approvals: {0}")]
    Invalid(String),
    /// Another writer is at work.
    #[error("another process is writing the exec approvals; try again")]
    Busy,
    /// The file system refuses.
    #[error("{} could not be read or written: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        cause: io::Error,
    },
}

/// Reads it. It blocks.
///
/// # Errors
/// It cannot be read, or is no JSON object.
pub fn read(state_dir: &Path) -> Result<Stored, FileError> {
    let path = state_dir.join(NAME);
    let found = Dir::open(state_dir).and_then(|dir| dir.read(Path::new(NAME), MAX_BYTES));
    let found = found.map_err(|cause| FileError::Io { path: path.clone(), cause })?;
    let (exists, text) = (found.is_some(), found.map(|(text, _)| text).unwrap_or_default());
    let file = if exists {
        serde_json::from_slice(&text).map_err(|error| FileError::Syntax {
            path: path.clone(),
            line: error.line(),
            column: error.column(),
        })?
    } else {
        Map::from_iter([("version".to_owned(), json!(1)), ("agents".to_owned(), json!({}))])
    };
    Ok(Stored { path, exists, hash: hash_of(&text), file })
}

/// Replaces it by `file`, if it is still the one with the hash `base`; a `socket.token` that is not given is kept. On the disk when this returns. It blocks.
///
/// # Errors
/// Nothing was written, and why.
pub fn replace(state_dir: &Path, mut file: Map<String, Value>, base: Option<&str>) -> Result<Stored, FileError> {
    edit(state_dir, base.map_or(Base::None, Base::Hash), |stored| {
        check(&file)?;
        let token = stored.file.get("socket").and_then(|socket| socket.get("token")).cloned();
        if let (Some(token), Some(Value::Object(socket))) = (token, file.get_mut("socket")) {
            socket.entry("token").or_insert(token);
        }
        Ok(std::mem::take(&mut file))
    })
}

/// Adds an entry to what an agent may run without asking: the program at `path`, with `command` as the example of its use. One that is there is only brought up to date. It blocks.
///
/// # Errors
/// Nothing was written, and why.
pub fn add(state_dir: &Path, agent_id: &str, entry: &Entry<'_>) -> Result<Stored, FileError> {
    edit(state_dir, Base::Any, |stored| {
        let mut file = stored.file.clone();
        file.entry("version").or_insert(json!(1));
        let wrong = || FileError::Invalid(format!("agents.{agent_id}.allowlist is not what it should be; mend the file"));
        let agents = file.entry("agents").or_insert_with(|| json!({})).as_object_mut().ok_or_else(wrong)?;
        let agent = agents.entry(agent_id).or_insert_with(|| json!({})).as_object_mut().ok_or_else(wrong)?;
        let list = agent.entry("allowlist").or_insert_with(|| json!([])).as_array_mut().ok_or_else(wrong)?;
        let used = |object: &mut Map<String, Value>| {
            object.insert("lastUsedAt".to_owned(), json!(entry.at));
            object.insert("lastUsedCommand".to_owned(), json!(entry.command));
            object.insert("lastResolvedPath".to_owned(), json!(entry.path));
        };
        let known = list.iter_mut().filter_map(Value::as_object_mut);
        match known.into_iter().find(|object| object.get("pattern").and_then(Value::as_str) == Some(entry.path)) {
            Some(object) => used(object),
            None => {
                let mut object =
                    Map::from_iter([("id".to_owned(), json!(uuid::Uuid::new_v4().to_string())), ("pattern".to_owned(), json!(entry.path))]);
                used(&mut object);
                list.push(Value::Object(object));
            }
        }
        Ok(file)
    })
}

/// A program that may run without asking.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'e> {
    /// Its real path.
    pub path: &'e str,
    /// The command that was allowed, escaped.
    pub command: &'e str,
    /// When, ms since the epoch.
    pub at: u64,
}

#[derive(Clone, Copy)]
enum Base<'b> {
    Any,
    None,
    Hash(&'b str),
}

fn edit(
    state_dir: &Path,
    base: Base<'_>,
    change: impl FnOnce(&Stored) -> Result<Map<String, Value>, FileError>,
) -> Result<Stored, FileError> {
    let path = state_dir.join(NAME);
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::WouldBlock => FileError::Busy,
        _ => FileError::Io { path: path.clone(), cause },
    };
    let held = lock(&path).map_err(failed)?;
    // A link in its place is refused here, before anything is written.
    let stored = read(state_dir)?;
    match base {
        Base::None if stored.exists => return Err(FileError::BaseRequired),
        Base::Hash(given) if stored.exists && given != stored.hash => return Err(FileError::Conflict),
        _ => {}
    }
    let file = change(&stored)?;
    let mut text = serde_json::to_string_pretty(&file).map_err(|error| FileError::Invalid(error.to_string()))?;
    text.push('\n');
    if text.len() as u64 > MAX_BYTES {
        return Err(FileError::Invalid(format!("it would be larger than {MAX_BYTES} bytes")));
    }
    save(&path, &text, &held).map_err(|cause| FileError::Io { path: path.clone(), cause })?;
    Ok(Stored { path, exists: true, hash: hash_of(text.as_bytes()), file })
}

/// What a file must be, whoever wrote it.
fn check(file: &Map<String, Value>) -> Result<(), FileError> {
    entries::check(&Value::Object(file.clone())).map_err(FileError::Invalid)
}

fn hash_of(text: &[u8]) -> String {
    digest(&SHA256, text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        (dir, path)
    }

    #[test]
    fn the_file_is_shown_without_its_token_and_a_missing_one_is_empty() {
        let (dir, path) = place();
        let none = read(dir.path()).unwrap();
        assert_eq!((none.exists, json!(none.file)), (false, json!({"version": 1, "agents": {}})));
        assert!(none.hash.starts_with("e3b0c442"), "{}", none.hash);
        std::fs::write(&path, r#"{"version":1,"socket":{"path":"/s","token":"secret"},"agents":{"*":{"security":"full"}}}"#).unwrap();
        let some = read(dir.path()).unwrap();
        assert_eq!(json!(some.shown()), json!({"version": 1, "socket": {"path": "/s"}, "agents": {"*": {"security": "full"}}}));
        assert!(some.exists && some.hash != none.hash);
    }

    #[test]
    fn a_file_that_says_nothing_sensible_is_an_error_that_says_where_and_is_not_written_over() {
        let (dir, path) = place();
        for text in ["{\"version\":1,", "[]", ""] {
            std::fs::write(&path, text).unwrap();
            let error = read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("(line ") && error.contains("/exec-approvals.json"), "{error}");
            assert!(replace(dir.path(), object(json!({"version": 1})), Some("x")).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn m97_of_two_writers_with_one_base_hash_the_second_is_told() {
        let (dir, path) = place();
        let first = replace(dir.path(), object(json!({"version": 1, "socket": {"path": "/s", "token": "t"}})), None).unwrap();
        let file = |n: u64| object(json!({"version": 1, "socket": {"path": "/s"}, "agents": {"a": {"n": n}}}));
        assert!(matches!(replace(dir.path(), file(0), None), Err(FileError::BaseRequired)));
        let wrong = object(json!({"version": 1, "agents": {"main": {"security": "everything"}}}));
        assert!(matches!(replace(dir.path(), wrong, Some(&first.hash)), Err(FileError::Invalid(_))), "it would stop every command");
        let second = replace(dir.path(), file(1), Some(&first.hash)).unwrap();
        assert!(matches!(replace(dir.path(), file(2), Some(&first.hash)), Err(FileError::Conflict)));
        assert_eq!(read(dir.path()).unwrap(), second);
        assert_eq!(second.file["socket"]["token"], "t", "the token is kept");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_in_its_place_is_neither_read_nor_written_through() {
        let (dir, path) = place();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, "{\"version\":1}").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(read(dir.path()), Err(FileError::Io { .. })));
        assert!(replace(dir.path(), object(json!({"version": 1})), None).is_err());
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "{\"version\":1}");
    }

    #[test]
    fn an_entry_is_added_once_and_leaves_the_rest_alone() {
        let (dir, path) = place();
        std::fs::write(&path, r#"{"version":1,"defaults":{"ask":"always"},"agents":{"main":{"allowlist":[{"pattern":"/bin/ls"}]}}}"#)
            .unwrap();
        let entry = |path, at| Entry { path, command: "x", at };
        add(dir.path(), "main", &entry("/bin/ls", 1)).unwrap();
        add(dir.path(), "main", &entry("/bin/wc", 2)).unwrap();
        let file = add(dir.path(), "other", &entry("/bin/wc", 3)).unwrap().file;
        assert_eq!(file["defaults"]["ask"], "always");
        let patterns = |agent: &str| {
            let list = file["agents"][agent]["allowlist"].as_array().unwrap();
            list.iter().map(|entry| (entry["pattern"].as_str().unwrap().to_owned(), entry["lastUsedAt"].as_u64())).collect::<Vec<_>>()
        };
        assert_eq!(patterns("main"), [("/bin/ls".to_owned(), Some(1)), ("/bin/wc".to_owned(), Some(2))]);
        assert_eq!(patterns("other"), [("/bin/wc".to_owned(), Some(3))]);
    }
}
