//! From files, environment and flags to one checked, immutable config; or all the reasons why there is none.
//!
//! The order: read → syntax → includes → `${NAME}` → schema → flags and environment over it → types → rules between keys. Nothing is written, and nothing that is wrong is ever replaced by a default.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Config;
use super::check::{against_schema, typed};
use super::cross;
use super::host::Host;
use super::include::Document;
use super::key_path::KeyPath;
use super::layers::{Override, Sources, lay_over, origin_of, overrides};
use super::locate::Target;
use super::login_rules::PASSWORD_HASH_PREFIX;
use super::paths::Paths;
use super::problem::{ConfigError, Origin, Problem};
use super::read_file::{Overlay, read_over};
use super::schema::{flag, schema};
use super::substitute::substitute;

/// A config that was read and found right.
#[derive(Debug)]
pub struct Loaded {
    /// The config.
    pub config: Arc<Config>,
    /// Where everything stands.
    pub paths: Paths,
    /// The main file, whether it exists or not.
    pub path: PathBuf,
    /// Whether it exists.
    pub exists: bool,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
    /// Changes with every change of a file; see [`Document::hash`].
    pub hash: Option<String>,
    /// What flags and environment gave, weakest first.
    pub layers: Vec<Override>,
    /// Everything that was given, with `${NAME}` replaced and without defaults: what two configs are compared by.
    pub given: Value,
    /// Files outside the configuration that hold secrets of the gateway.
    pub secret_files: Vec<PathBuf>,
    /// How to find out what this machine can give to isolated runs.
    pub host: Host,
    document: Option<Document>,
}

/// Reads and checks the config.
///
/// # Errors
/// Every problem found, with its place; the file named by a flag is absent; no home directory.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    load_over(sources, &Overlay::new())
}

/// As [`load`], with texts that count in place of what is on disk: what a change would make of the config.
///
/// # Errors
/// As [`load`].
pub fn load_over(sources: &Sources, overlay: &Overlay) -> Result<Loaded, ConfigError> {
    // Held here, so that all the steps below share one parsed schema.
    let schema = schema();
    let paths = Paths::find(sources)?;
    let path = paths.config_path.clone();
    let mut hash = None;
    let mut problems = Vec::new();
    let mut value = Value::Object(Map::new());
    let document = match read_over(&path, overlay)? {
        Some(text) => {
            let document = Document::load(&path, text, overlay)?;
            hash = Some(document.hash());
            value = document.merged()?;
            problems.extend(substitute(&mut value, &sources.env));
            problems.extend(against_schema(&value));
            document.place(&mut problems);
            Some(document)
        }
        None if sources.flags.config.is_some() => return Err(ConfigError::Absent(path)),
        None => None,
    };
    let warnings = warnings(&schema, &value, document.as_ref());
    let layers = overrides(sources).unwrap_or_else(|wrong| {
        problems.extend(wrong);
        Vec::new()
    });
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let place = |problems: &mut Vec<Problem>| {
        for problem in problems.iter_mut() {
            problem.origin = origin_of(&layers, &problem.path).cloned();
        }
        if let Some(document) = &document {
            document.place(problems);
        }
    };
    lay_over(&mut value, &layers);
    let mut wrong = against_schema(&value);
    place(&mut wrong);
    if !wrong.is_empty() {
        return Err(invalid(wrong));
    }
    let mut config = typed(&value).map_err(|problem| {
        let mut problems = vec![problem];
        place(&mut problems);
        invalid(problems)
    })?;
    config.settle(&paths, &sources.env);
    let mut wrong = cross::wrong(&config);
    place(&mut wrong);
    if !wrong.is_empty() {
        return Err(invalid(wrong));
    }
    let files = document.iter().flat_map(|document| &document.files).map(|source| source.path.clone()).collect();
    Ok(Loaded {
        config: Arc::new(config),
        paths,
        path,
        exists: document.is_some(),
        files,
        warnings,
        hash,
        layers,
        given: value,
        secret_files: sources.secret_files(),
        host: sources.host.clone(),
        document,
    })
}

impl Loaded {
    /// What keeps a gateway from starting with this config, with places.
    #[must_use]
    pub fn start_blockers(&self) -> Vec<Problem> {
        let mut problems = self.config.start_blockers();
        problems.extend(self.open_secrets());
        problems.extend(self.isolation_blockers());
        for problem in &mut problems {
            problem.origin = match self.origin(&problem.path, problem.target) {
                Origin::Default if self.exists => Some(Origin::File { file: self.path.clone(), spot: None }),
                Origin::Default => None,
                known => Some(known),
            };
        }
        problems
    }

    /// Secrets of the door that stand in clear in files which other users of this machine can read.
    fn open_secrets(&self) -> Vec<Problem> {
        let open: Vec<&PathBuf> = self
            .document
            .iter()
            .flat_map(|document| &document.files)
            .filter(|source| source.readable_by_others)
            .map(|source| &source.path)
            .collect();
        let raw = self.document.as_ref().filter(|_| !open.is_empty()).and_then(|document| document.merged().ok()).unwrap_or_default();
        let hidden = |text: &str| text.starts_with("${") || text.starts_with(PASSWORD_HASH_PREFIX);
        let clear = |path: &KeyPath| path.find(&raw).and_then(Value::as_str).is_some_and(|text| !hidden(text));
        let tokens = (0..self.config.gateway.auth.tokens.len()).map(|index| format!("gateway.auth.tokens[{index}].token"));
        let keys = ["gateway.auth.token", "gateway.auth.password", "gateway.auth.jwt.secret"].map(str::to_owned).into_iter().chain(tokens);
        keys.map(|key| KeyPath::parse(&key))
            .filter(clear)
            .filter(|path| matches!(self.origin(path, Target::Value), Origin::File { file, .. } if open.contains(&&file)))
            .map(|path| Problem::value(path, "stands in a file that other users of this machine can read; run chmod 600 on it"))
            .collect()
    }

    /// The files it was made of; none when there is no file.
    #[must_use]
    pub fn document(&self) -> Option<&Document> {
        self.document.as_ref()
    }

    /// Whether the files still hold what was read from them. Much cheaper than to load them again.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        let same = |path: &std::path::Path, text: &str| std::fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes());
        match &self.document {
            Some(document) => document.files.iter().all(|source| same(&source.path, &source.text)),
            None => !self.path.exists(),
        }
    }

    /// Who gave the key.
    #[must_use]
    pub fn origin(&self, path: &KeyPath, target: Target) -> Origin {
        let outside = origin_of(&self.layers, path).cloned();
        outside.or_else(|| self.document.as_ref()?.origin(path, target)).unwrap_or(Origin::Default)
    }
}

/// In the order of the text, so that a person can go through the file once.
fn invalid(mut problems: Vec<Problem>) -> ConfigError {
    problems.sort_by_key(|problem| match &problem.origin {
        Some(Origin::File { file, spot }) => (file.clone(), spot.map_or((0, 0), |spot| (spot.line, spot.column))),
        _ => (PathBuf::new(), (0, 0)),
    });
    ConfigError::Invalid(problems)
}

fn warnings(schema: &Value, value: &Value, document: Option<&Document>) -> Vec<String> {
    let open = document.into_iter().flat_map(|document| &document.files).filter(|source| source.readable_by_others);
    let mut list: Vec<String> =
        open.map(|source| format!("{} can be read by other users of this machine; run chmod 600 on it", source.path.display())).collect();
    idle_keys(schema, value, &mut KeyPath::default(), &mut list);
    for (pointer, key, effect) in [
        ("/gateway/dangerouslyAllowPlaintext", "gateway.dangerouslyAllowPlaintext", "tokens may cross the network in clear"),
        ("/gateway/auth/legacyDevicePayload", "gateway.auth.legacyDevicePayload", "signatures of devices can be replayed"),
    ] {
        if value.pointer(pointer) == Some(&Value::Bool(true)) {
            list.push(format!("`{key}` is on: {effect}"));
        }
    }
    list
}

/// Keys that are given, known, and without effect in this version.
fn idle_keys(part: &Value, value: &Value, path: &mut KeyPath, list: &mut Vec<String>) {
    use super::key_path::Step;
    if part.get("x-acts") == Some(&Value::Bool(false)) {
        list.push(format!("`{path}` is accepted, but this version does not act on it"));
        return;
    }
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                if let Some(below) = part.get("properties").and_then(|properties| properties.get(key)).filter(|_| !flag(part, "x-open")) {
                    path.0.push(Step::Key(key.clone()));
                    idle_keys(below, inner, path, list);
                    path.0.pop();
                }
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                if let Some(below) = part.get("items") {
                    path.0.push(Step::Index(index));
                    idle_keys(below, inner, path, list);
                    path.0.pop();
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
