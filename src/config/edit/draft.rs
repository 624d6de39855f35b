//! A config while it is being changed: each change is made in the file that gives the value, and the result is compared with what was asked for.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::text::{insert, remove, replace};
use crate::config::include::{Document, InFile, KEY};
use crate::config::key_path::{KeyPath, Step};
use crate::config::parse::whole_numbers;
use crate::config::problem::{ConfigError, Problem};
use crate::config::read_file::{Overlay, Text};

/// How many files of one config can give the same key.
const MAX_PLACES: usize = 64;

/// Why a change cannot be made. Every text says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The value is put together from several files, so no single edit replaces it.
    #[error("{path} is put together from several files; edit it there: {}", names(.files))]
    Joined {
        /// The key.
        path: KeyPath,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// The change needs more than one file, and two files cannot be replaced at one moment.
    #[error("the change touches several files, which cannot be saved at once; make it one key at a time: {}", names(.0))]
    SeveralFiles(Vec<PathBuf>),
    /// A file is used in more than one place.
    #[error("the change would alter other keys too, because a file with it is included more than once; edit the file by hand")]
    Elsewhere,
    /// The key cannot exist: something on the way to it is no object or list, or the entry is beyond the end.
    #[error("{0} cannot be set: what it would stand in is no object or has no such entry")]
    NoParent(KeyPath),
    /// `$include` says where the config is; it is no key of it.
    #[error("`$include` cannot be patched; write the whole file with config.set or edit it by hand")]
    Include,
    /// The edited files are not a config.
    #[error("{0}")]
    Broken(#[from] ConfigError),
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A config with changes that are not saved.
pub struct Draft {
    document: Document,
    merged: Value,
    overlay: Overlay,
}

impl Draft {
    /// Begins with the config as it is.
    ///
    /// # Errors
    /// Its files cannot be merged.
    pub fn of(document: Document) -> Result<Self, ConfigError> {
        Ok(Self { merged: document.merged()?, document, overlay: Overlay::new() })
    }

    /// What the config says now: all files merged, `${NAME}` kept.
    #[must_use]
    pub fn merged(&self) -> &Value {
        &self.merged
    }

    /// Merges `patch` into the value at `at` by RFC 7396: null takes a key away, objects merge, anything else replaces.
    ///
    /// # Errors
    /// It cannot be done on the text; nothing is changed then that anybody sees.
    pub fn merge(&mut self, at: &KeyPath, patch: &Value) -> Result<(), EditError> {
        if names_include(patch) || at.0.contains(&Step::Key(KEY.to_owned())) {
            return Err(EditError::Include);
        }
        let mut patch = patch.clone();
        whole_numbers(&mut patch);
        let mut wanted = self.merged.clone();
        merge_at(&mut wanted, &at.0, &patch).ok_or_else(|| EditError::NoParent(at.clone()))?;
        self.lay(at, &patch)?;
        if self.merged != wanted {
            return Err(EditError::Elsewhere);
        }
        let files: Vec<PathBuf> = self.overlay.keys().cloned().collect();
        if files.len() > 1 {
            return Err(EditError::SeveralFiles(files));
        }
        Ok(())
    }

    /// The new texts by the real paths of their files.
    #[must_use]
    pub fn into_overlay(self) -> Overlay {
        self.overlay
    }

    fn lay(&mut self, path: &KeyPath, patch: &Value) -> Result<(), EditError> {
        match (path.find(&self.merged), patch) {
            (Some(Value::Object(_)), Value::Object(patch)) => {
                for (key, inner) in patch {
                    self.lay(&path.key(key), inner)?;
                }
                Ok(())
            }
            (None, Value::Null) => Ok(()),
            (Some(_), Value::Null) => self.take(path),
            (_, patch) => {
                let value = without_nulls(patch);
                if path.find(&self.merged) == Some(&value) { Ok(()) } else { self.put(path, &value) }
            }
        }
    }

    fn put(&mut self, path: &KeyPath, value: &Value) -> Result<(), EditError> {
        let mut places = self.document.places(path);
        if let (Some(place), true) = (places.pop(), places.is_empty()) {
            return self.edit(&place.value, path, |text, own| replace(text, own, value));
        }
        if !places.is_empty() {
            let all = self.document.places(path);
            let files = all.iter().filter_map(|place| Some(self.document.files.get(place.value.0)?.path.clone())).collect();
            return Err(EditError::Joined { path: path.clone(), files });
        }
        let no_parent = || EditError::NoParent(path.clone());
        let (last, parents) = path.0.split_last().ok_or_else(no_parent)?;
        let parent = KeyPath(parents.to_vec());
        match (parent.find(&self.merged), last) {
            (None, Step::Key(key)) => self.put(&parent, &Value::Object(Map::from_iter([(key.clone(), value.clone())]))),
            (Some(Value::Object(_)), Step::Key(_)) | (Some(Value::Array(_)), Step::Index(_)) => {
                let place = self.document.places(&parent).pop().ok_or_else(no_parent)?;
                self.edit(&place.value, path, |text, own| insert(text, own, last, value))
            }
            _ => Err(no_parent()),
        }
    }

    /// Takes a key away from every place that gives it; an entry of a list has one place, and behind it stands another entry.
    fn take(&mut self, path: &KeyPath) -> Result<(), EditError> {
        let most = if matches!(path.0.last(), Some(Step::Index(_))) { 1 } else { MAX_PLACES };
        for _ in 0..most {
            let Some(place) = self.document.places(path).pop() else { break };
            self.edit(&place.key, path, remove)?;
        }
        Ok(())
    }

    fn edit(
        &mut self,
        (file, own): &InFile,
        path: &KeyPath,
        change: impl FnOnce(&str, &[Step]) -> Option<String>,
    ) -> Result<(), EditError> {
        let source = self.document.files.get(*file).ok_or_else(|| EditError::NoParent(path.clone()))?;
        let text = change(&source.text, own).ok_or_else(|| EditError::NoParent(path.clone()))?;
        self.overlay.insert(source.real.clone(), text);
        self.read_again()
    }

    fn read_again(&mut self) -> Result<(), EditError> {
        let main = self.document.files.first().ok_or_else(|| ConfigError::one(Problem::value(KeyPath::default(), "has no file")))?;
        let text = self.overlay.get(&main.real).unwrap_or(&main.text).clone();
        let text = Text { real: main.real.clone(), text, readable_by_others: false };
        self.document = Document::load(&main.path.clone(), text, &self.overlay)?;
        self.merged = self.document.merged()?;
        Ok(())
    }
}

fn names_include(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(key, inner)| key == KEY || names_include(inner)),
        Value::Array(items) => items.iter().any(names_include),
        _ => false,
    }
}

/// By RFC 7396 an object that replaces something loses its nulls.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object.iter().filter(|(_, inner)| !inner.is_null()).map(|(key, inner)| (key.clone(), without_nulls(inner))).collect(),
        ),
        other => other.clone(),
    }
}

/// RFC 7396 on values.
fn merged_by(target: Option<&Value>, patch: &Value) -> Option<Value> {
    match (target, patch) {
        (_, Value::Null) => None,
        (Some(Value::Object(target)), Value::Object(patch)) => {
            let mut result = target.clone();
            for (key, inner) in patch {
                match merged_by(target.get(key), inner) {
                    Some(new) => drop(result.insert(key.clone(), new)),
                    None => drop(result.shift_remove(key)),
                }
            }
            Some(Value::Object(result))
        }
        (_, patch) => Some(without_nulls(patch)),
    }
}

/// The same at one path; objects on the way are made. `None` when something on the way is in it.
fn merge_at(value: &mut Value, path: &[Step], patch: &Value) -> Option<()> {
    let Some((step, rest)) = path.split_first() else {
        *value = merged_by(Some(value), patch)?;
        return Some(());
    };
    match (step, value) {
        (Step::Key(key), Value::Object(object)) if rest.is_empty() => {
            match merged_by(object.get(key), patch) {
                Some(new) => drop(object.insert(key.clone(), new)),
                None => drop(object.shift_remove(key)),
            }
            Some(())
        }
        (Step::Key(key), Value::Object(object)) if object.contains_key(key) => merge_at(object.get_mut(key)?, rest, patch),
        (Step::Key(_), Value::Object(_)) if patch.is_null() => Some(()),
        (Step::Key(key), Value::Object(object)) => {
            let mut inner = Value::Object(Map::new());
            merge_at(&mut inner, rest, patch)?;
            object.insert(key.clone(), inner);
            Some(())
        }
        (Step::Index(index), Value::Array(items)) if *index == items.len() && rest.is_empty() && !patch.is_null() => {
            items.push(without_nulls(patch));
            Some(())
        }
        (Step::Index(index), Value::Array(items)) if rest.is_empty() && patch.is_null() => {
            (*index < items.len()).then(|| drop(items.remove(*index)))
        }
        (Step::Index(index), Value::Array(items)) => merge_at(items.get_mut(*index)?, rest, patch),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
