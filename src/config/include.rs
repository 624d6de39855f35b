//! `$include`: a config made of several files, merged into one value that still knows where each part came from.
//!
//! Files outside the config's directory cannot be named, whatever the spelling or the links: a config must not become a reader of other files. Where a value came from is worked out only when somebody asks, by replaying the merge along one path.

mod loader;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};

use super::key_path::{KeyPath, Step};
use super::locate::{Target, locate};
use super::problem::{ConfigError, Origin, Problem};
use super::read_file::{Overlay, Text};
use crate::protocol::strict::MAX_DEPTH;
use loader::Loader;

/// The key that names files.
pub const KEY: &str = "$include";
/// How deep files may include files.
pub const MAX_NESTING: usize = 10;
/// How many files one config may be made of; without it, ten levels of two includes each would be a thousand.
pub const MAX_FILES: usize = 256;

/// One file that was read.
#[derive(Debug)]
pub struct Source {
    /// Its path as shown.
    pub path: PathBuf,
    /// Its path with all links resolved.
    pub real: PathBuf,
    /// Its text.
    pub text: String,
    /// Whether others can read it.
    pub readable_by_others: bool,
    /// What its text says, `$include` keys and all.
    pub value: Value,
}

/// One use of a file: which one, and what it includes where.
#[derive(Debug)]
struct Part {
    file: usize,
    includes: BTreeMap<Vec<Step>, Vec<Part>>,
}

/// All files of a config.
#[derive(Debug)]
pub struct Document {
    /// The files in the order of reading, the main one first.
    pub files: Vec<Source>,
    root: Part,
}

impl Document {
    /// Reads the main file's text and everything it includes; texts of the overlay count in place of what is on disk.
    ///
    /// # Errors
    /// The first fault of reading, syntax or inclusion.
    pub fn load(path: &Path, text: Text, overlay: &Overlay) -> Result<Self, ConfigError> {
        let directory = text.real.parent().unwrap_or(Path::new("/")).to_owned();
        let mut loader = Loader { overlay, files: Vec::new(), directory, stack: Vec::new() };
        let root = loader.file(path.to_owned(), text)?;
        Ok(Self { files: loader.files, root })
    }

    /// The merged value, without `$include` keys.
    ///
    /// # Errors
    /// Includes that cannot be merged, or a result nested too deep.
    pub fn merged(&self) -> Result<Value, ConfigError> {
        let value = self.value_of(&self.root, &mut Vec::new())?;
        if depth_of(&value) > MAX_DEPTH {
            let main = self.files.first().map(|file| file.path.clone()).unwrap_or_default();
            return Err(ConfigError::one(Problem::file(
                main,
                None,
                format!("with its includes it is nested deeper than {MAX_DEPTH} levels"),
            )));
        }
        Ok(value)
    }

    /// Where the merged value at `path` came from; `None` when no file gives it.
    #[must_use]
    pub fn origin(&self, path: &KeyPath, target: Target) -> Option<Origin> {
        let Candidate { part, own, .. } = self.candidates(path).pop()?;
        let source = self.files.get(part.file)?;
        Some(Origin::File { file: source.path.clone(), spot: locate(&source.text, &own, target) })
    }

    /// Every place that gives a part of the merged value at `path`, in the order in which the merge takes them; the last one wins.
    #[must_use]
    pub fn places(&self, path: &KeyPath) -> Vec<Place> {
        let place = |Candidate { part, own, via }: Candidate<'_>| {
            let (holder, key) = via.unwrap_or_else(|| (part, own.clone()));
            Place { value: (part.file, own), key: (holder.file, key) }
        };
        self.candidates(path).into_iter().map(place).collect()
    }

    fn candidates(&self, path: &KeyPath) -> Vec<Candidate<'_>> {
        let whole = self.expand(Vec::new(), &self.root, Vec::new());
        path.0.iter().fold(whole, |candidates, step| self.descend(candidates, step))
    }

    /// The hash by which writers tell whether the config has changed: SHA-256 of the main file's text; with includes, of the hashes of all files.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hashes = self.files.iter().map(|source| hash_of(source.text.as_bytes()));
        match (hashes.next(), self.files.len()) {
            (Some(one), 1) => one,
            (first, _) => hash_of(first.into_iter().chain(hashes).collect::<Vec<_>>().join("\n").as_bytes()),
        }
    }

    /// Puts places on problems that have none.
    pub fn place(&self, problems: &mut [Problem]) {
        for problem in problems.iter_mut().filter(|problem| problem.origin.is_none()) {
            problem.origin = self.origin(&problem.path, problem.target).or_else(|| self.nearest(&problem.path));
        }
    }

    /// The place of the innermost existing parent: what is missing has no place of its own.
    fn nearest(&self, path: &KeyPath) -> Option<Origin> {
        (0..path.0.len()).rev().find_map(|length| {
            let parent = KeyPath(path.0.iter().take(length).cloned().collect());
            self.origin(&parent, Target::Value)
        })
    }

    fn node(&self, part: &Part, own: &[Step]) -> Option<&Value> {
        let root = &self.files.get(part.file)?.value;
        own.iter().try_fold(root, |value, step| match step {
            Step::Key(key) => value.as_object()?.get(key),
            Step::Index(index) => value.as_array()?.get(*index),
        })
    }

    fn value_of(&self, part: &Part, own: &mut Vec<Step>) -> Result<Value, ConfigError> {
        match self.node(part, own) {
            Some(Value::Object(object)) => self.object_of(part, own, object),
            Some(Value::Array(items)) => {
                let mut list = Vec::with_capacity(items.len());
                for index in 0..items.len() {
                    own.push(Step::Index(index));
                    list.push(self.value_of(part, own)?);
                    own.pop();
                }
                Ok(Value::Array(list))
            }
            other => Ok(other.cloned().unwrap_or(Value::Null)),
        }
    }

    fn object_of(&self, part: &Part, own: &mut Vec<Step>, object: &Map<String, Value>) -> Result<Value, ConfigError> {
        let mut siblings = Map::new();
        for key in object.keys().filter(|key| *key != KEY) {
            own.push(Step::Key(key.clone()));
            siblings.insert(key.clone(), self.value_of(part, own)?);
            own.pop();
        }
        let Some(parts) = part.includes.get(own.as_slice()) else {
            return Ok(Value::Object(siblings));
        };
        let mut merged: Option<Value> = None;
        for included in parts {
            let value = self.value_of(included, &mut Vec::new())?;
            merged = Some(merged.map_or_else(|| value.clone(), |base| merge(base, value.clone())));
        }
        match merged {
            Some(value) if siblings.is_empty() => Ok(value),
            Some(base @ Value::Object(_)) => Ok(merge(base, Value::Object(siblings))),
            Some(_) => Err(self.wrong(part, own, "keys beside $include need the included file to hold an object")),
            None => Ok(Value::Object(siblings)),
        }
    }

    fn wrong(&self, part: &Part, own: &[Step], reason: &str) -> ConfigError {
        let mut problem = Problem::key(KeyPath(own.to_vec()).key(KEY), reason);
        problem.origin = self
            .files
            .get(part.file)
            .map(|source| Origin::File { file: source.path.clone(), spot: locate(&source.text, &problem.path.0, Target::Key) });
        ConfigError::one(problem)
    }

    /// Adds this node and what it includes to the candidates, in the order in which the merge takes them.
    fn expand<'d>(&'d self, mut list: Vec<Candidate<'d>>, part: &'d Part, own: Vec<Step>) -> Vec<Candidate<'d>> {
        let mut only_includes = false;
        if let Some(parts) = part.includes.get(&own) {
            for included in parts {
                list = self.expand(list, included, Vec::new());
            }
            only_includes = self.node(part, &own).and_then(Value::as_object).is_some_and(|object| object.len() == 1);
        }
        if only_includes {
            // Whoever wants the value gone takes the key that includes it, not the content of the file.
            let here = part.includes.get(&own).into_iter().flatten().map(|included| included.file).collect::<Vec<_>>();
            for candidate in list.iter_mut().filter(|candidate| candidate.own.is_empty() && here.contains(&candidate.part.file)) {
                candidate.via = Some((part, own.clone()));
            }
            return list;
        }
        let candidate = Candidate { part, own, via: None };
        let merges = list.last().is_none_or(|last| self.kind(last) == self.kind(&candidate) && self.kind(last) != Kind::Scalar);
        if !merges {
            list.clear();
        }
        list.push(candidate);
        list
    }

    fn descend<'d>(&'d self, candidates: Vec<Candidate<'d>>, step: &Step) -> Vec<Candidate<'d>> {
        let mut below = Vec::new();
        let mut before = 0;
        for Candidate { part, own, .. } in candidates {
            let own_step = match (step, self.node(part, &own)) {
                (Step::Key(key), Some(Value::Object(object))) if object.contains_key(key) => Step::Key(key.clone()),
                (Step::Index(index), Some(Value::Array(items))) => {
                    let start = before;
                    before += items.len();
                    match index.checked_sub(start).filter(|inner| *inner < items.len()) {
                        Some(inner) => Step::Index(inner),
                        None => continue,
                    }
                }
                _ => continue,
            };
            let mut longer = own;
            longer.push(own_step);
            below = self.expand(below, part, longer);
        }
        below
    }

    fn kind(&self, candidate: &Candidate<'_>) -> Kind {
        match self.node(candidate.part, &candidate.own) {
            Some(Value::Object(_)) => Kind::Object,
            Some(Value::Array(_)) => Kind::List,
            _ => Kind::Scalar,
        }
    }
}

/// A file by its number and a place in it.
pub type InFile = (usize, Vec<Step>);

/// One of the places that make up a merged value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the value stands.
    pub value: InFile,
    /// Where the key stands that brings it in; another place than the value's when an `$include` does.
    pub key: InFile,
}

/// SHA-256 of these bytes, hexadecimal.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One of the nodes that make up a merged value.
struct Candidate<'d> {
    part: &'d Part,
    own: Vec<Step>,
    via: Option<(&'d Part, Vec<Step>)>,
}

#[derive(PartialEq)]
enum Kind {
    Object,
    List,
    Scalar,
}

/// Objects merge key by key, lists are joined, anything else is replaced by the later one.
fn merge(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                let merged = match base.remove(&key) {
                    Some(below) => merge(below, value),
                    None => value,
                };
                base.insert(key, merged);
            }
            Value::Object(base)
        }
        (Value::Array(mut base), Value::Array(over)) => {
            base.extend(over);
            Value::Array(base)
        }
        (_, over) => over,
    }
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
