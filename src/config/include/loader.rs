//! Reads the files of a config: the main one and what it includes, each confined to the config's directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::{KEY, MAX_FILES, MAX_NESTING, Part, Source};
use crate::config::key_path::{KeyPath, Step};
use crate::config::locate::{Target, locate};
use crate::config::parse::parse;
use crate::config::problem::{ConfigError, Origin, Problem};
use crate::config::read_file::{Overlay, Text, read_over};

/// Reads the files that belong together.
pub(super) struct Loader<'o> {
    pub overlay: &'o Overlay,
    pub files: Vec<Source>,
    pub directory: PathBuf,
    /// Real paths of the files being read, outermost first.
    pub stack: Vec<PathBuf>,
}

impl Loader<'_> {
    pub fn file(&mut self, path: PathBuf, text: Text) -> Result<Part, ConfigError> {
        let value = parse(&path, &text.text)?;
        let mut found = Vec::new();
        find_includes(&value, &mut Vec::new(), &mut found);
        let file = self.files.len();
        self.stack.push(text.real.clone());
        self.files.push(Source { path, real: text.real, text: text.text, readable_by_others: text.readable_by_others, value });
        let mut includes = BTreeMap::new();
        for (own, names) in found {
            let at = KeyPath(own.clone()).key(KEY);
            let names = names.ok_or_else(|| self.wrong(file, &at, "must be a file name or a list of file names"))?;
            let parts = names.iter().map(|name| self.included(file, &at, name)).collect::<Result<Vec<_>, _>>()?;
            includes.insert(own, parts);
        }
        self.stack.pop();
        Ok(Part { file, includes })
    }

    fn included(&mut self, from: usize, at: &KeyPath, name: &str) -> Result<Part, ConfigError> {
        let here = self.stack.last().and_then(|path| path.parent()).unwrap_or(&self.directory);
        let path = here.join(name);
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => return Err(self.wrong(from, at, &format!("the included file {} cannot be found: {error}", path.display()))),
        };
        if !real.starts_with(&self.directory) {
            return Err(self.wrong(
                from,
                at,
                &format!("{} lies outside the config's directory {}", path.display(), self.directory.display()),
            ));
        }
        if let Some(start) = self.stack.iter().position(|open| *open == real) {
            let names = self.stack.iter().skip(start).chain([&real]).map(|path| path.display().to_string()).collect::<Vec<_>>();
            return Err(self.wrong(from, at, &format!("circular include detected: {}", names.join(" -> "))));
        }
        if self.stack.len() > MAX_NESTING {
            return Err(self.wrong(from, at, &format!("maximum include depth ({MAX_NESTING}) exceeded at: {}", path.display())));
        }
        if self.files.len() >= MAX_FILES {
            return Err(self.wrong(from, at, &format!("more than {MAX_FILES} files are included")));
        }
        let Some(text) = read_over(&real, self.overlay)? else {
            return Err(self.wrong(from, at, &format!("the included file {} vanished", path.display())));
        };
        self.file(path, text)
    }

    fn wrong(&self, file: usize, at: &KeyPath, reason: &str) -> ConfigError {
        let mut problem = Problem::value(at.clone(), reason);
        problem.origin =
            self.files.get(file).map(|source| Origin::File { file: source.path.clone(), spot: locate(&source.text, &at.0, Target::Value) });
        ConfigError::one(problem)
    }
}

/// Where an `$include` stands in a file, and the names it gives; no names when its value is of another type.
type Found = (Vec<Step>, Option<Vec<String>>);

fn find_includes(value: &Value, own: &mut Vec<Step>, found: &mut Vec<Found>) {
    match value {
        Value::Object(object) => {
            if let Some(names) = object.get(KEY) {
                found.push((own.clone(), names_of(names)));
            }
            for (key, inner) in object.iter().filter(|(key, _)| *key != KEY) {
                own.push(Step::Key(key.clone()));
                find_includes(inner, own, found);
                own.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                own.push(Step::Index(index));
                find_includes(inner, own, found);
                own.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn names_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}
