//! Changes the config on disk, for the gateway's methods and for the command line alike.
//!
//! ```text
//! lock ──> read ──> base hash ──> edit the text ──> check the result as a start would ──> save
//! ```
//! Nothing is written that would not start, and never defaults or resolved secrets: what is saved is the text of the author with the change in it.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::diff::changed;
use super::edit::draft::{Draft, EditError};
use super::include::{Document, hash_of};
use super::key_path::KeyPath;
use super::layers::Sources;
use super::load::{Loaded, load, load_over};
use super::parse::parse;
use super::paths::Paths;
use super::problem::{ConfigError, Problem, lines};
use super::read_file::{Overlay, read};
use super::redact::{restore_value, restored};
use super::save::{lock, save};

/// From this size on a text that shrinks by more than half is taken for a mistake.
const SHRINK_FROM: usize = 1024;

/// The config file as it stands, right or wrong.
#[derive(Debug)]
pub struct Stored {
    /// The main file.
    pub path: PathBuf,
    /// Its path with all links resolved.
    pub real: PathBuf,
    /// Its text; none when there is no file.
    pub raw: Option<String>,
    /// Its parts, or why it cannot be parsed; none when there is no file.
    pub document: Option<Result<Document, ConfigError>>,
}

impl Stored {
    /// Reads the files.
    ///
    /// # Errors
    /// The main file cannot be read at all, or no home directory is known.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let path = Paths::find(sources)?.config_path;
        let Some(text) = read(&path)? else {
            return Ok(Self { real: path.clone(), path, raw: None, document: None });
        };
        let (real, raw) = (text.real.clone(), text.text.clone());
        let document = Document::load(&path, text, &Overlay::new());
        Ok(Self { path, real, raw: Some(raw), document: Some(document) })
    }

    /// The hash that a writer must name; none when there is no file.
    #[must_use]
    pub fn hash(&self) -> Option<String> {
        match &self.document {
            Some(Ok(document)) => Some(document.hash()),
            _ => self.raw.as_ref().map(|raw| hash_of(raw.as_bytes())),
        }
    }
}

/// What is to become of the config.
#[derive(Clone, Debug)]
pub enum Edit {
    /// The main file gets this text.
    Replace {
        /// The text.
        raw: String,
        /// Also over a file that does not parse, and when the text shrinks by more than half.
        force: bool,
    },
    /// A value is merged in by RFC 7396.
    Merge {
        /// Where.
        at: KeyPath,
        /// The value; null takes the key away.
        patch: Value,
    },
}

/// Which state of the config the change was made for.
#[derive(Clone, Copy, Debug)]
pub enum Base<'b> {
    /// Whatever stands there.
    Any,
    /// The one with this hash; required when there is a file.
    Hash(Option<&'b str>),
}

/// A change that was saved, or that changed nothing.
#[derive(Debug)]
pub struct Saved {
    /// The config as a start would read it.
    pub loaded: Loaded,
    /// The keys that differ now, without their values.
    pub changed: Vec<KeyPath>,
    /// Whether a file was written: a change that leaves every byte as it was writes none.
    pub written: bool,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is a file, and the change does not say for which state of it.
    #[error("config base hash required; re-run config.get and retry")]
    BaseRequired,
    /// The file cannot be read, so it has no hash.
    #[error("config base hash unavailable; re-run config.get and retry")]
    BaseUnavailable(ConfigError),
    /// Somebody else has changed the file.
    #[error("config changed since last load; re-run config.get and retry")]
    Conflict,
    /// The result would not start.
    #[error("invalid config")]
    Invalid(Vec<Problem>),
    /// The file is wrong as it stands, and the patch does not mend it.
    #[error("invalid config; fix before patching")]
    FixFirst(Vec<Problem>),
    /// The new text is no JSON5.
    #[error("{0}")]
    Syntax(Problem),
    /// The file on disk does not parse, so nobody can tell what a save would destroy.
    #[error("the config file does not parse, and a save would destroy what its author meant; mend it by hand, or send force: true. {0}")]
    Unparsed(Problem),
    /// Half of the config would be gone.
    #[error("the config would shrink from {from} to {to} bytes, which looks like a mistake; send force: true if it is meant")]
    Shrinks {
        /// Bytes now.
        from: usize,
        /// Bytes then.
        to: usize,
    },
    /// A marker came back for which nothing is stored.
    #[error("{0}: the marker for a hidden secret stands here, but no secret is stored under this key; send the secret itself")]
    Marker(KeyPath),
    /// The text cannot be edited so.
    #[error("{0}")]
    Edit(EditError),
    /// Another writer is at work.
    #[error("another process is writing the config; try again")]
    Busy,
    /// The file system refuses.
    #[error("{} cannot be written: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        cause: io::Error,
    },
}

impl ChangeError {
    /// What is wrong in particular.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) | Self::FixFirst(problems) => problems,
            Self::Syntax(problem) | Self::Unparsed(problem) => std::slice::from_ref(problem),
            Self::BaseUnavailable(error) => error.problems(),
            _ => &[],
        }
    }

    /// The text with all particulars, for a terminal.
    #[must_use]
    pub fn full_text(&self) -> String {
        match self {
            Self::Invalid(problems) | Self::FixFirst(problems) if !problems.is_empty() => format!("{self}\n{}", lines(problems)),
            _ => self.to_string(),
        }
    }
}

/// Makes the change. It blocks: files are read, written and synced.
///
/// # Errors
/// Nothing was written, and why.
pub fn change(sources: &Sources, base: Base<'_>, edit: &Edit) -> Result<Saved, ChangeError> {
    let path = Paths::find(sources).map_err(ChangeError::BaseUnavailable)?.config_path;
    // Writers of one file meet at one lock, whatever link they came by.
    let locked_path = path.canonicalize().unwrap_or(path);
    let io = |path: &Path| {
        let path = path.to_owned();
        |cause| ChangeError::Io { path, cause }
    };
    let held = lock(&locked_path)
        .map_err(|cause| if cause.kind() == io::ErrorKind::WouldBlock { ChangeError::Busy } else { io(&locked_path)(cause) })?;
    let stored = Stored::read(sources).map_err(ChangeError::BaseUnavailable)?;
    check_base(&stored, base)?;
    let before = load(sources);
    let overlay = overlay(stored, edit)?;
    let wrong = |problems: Vec<Problem>| match (&before, edit) {
        (Err(_), Edit::Merge { .. }) => ChangeError::FixFirst(problems),
        _ => ChangeError::Invalid(problems),
    };
    let after = load_over(sources, &overlay).map_err(|error| wrong(error.problems().to_vec()))?;
    let blockers = after.start_blockers();
    if !blockers.is_empty() {
        return Err(wrong(blockers));
    }
    let written = !overlay.is_empty();
    for (real, text) in overlay {
        save(&real, &text, &held).map_err(io(&real))?;
    }
    let given = before.map(|before| before.given).unwrap_or_default();
    Ok(Saved { changed: changed(&given, &after.given), loaded: after, written })
}

fn check_base(stored: &Stored, base: Base<'_>) -> Result<(), ChangeError> {
    match (base, stored.hash()) {
        (Base::Any, _) | (Base::Hash(_), None) => Ok(()),
        (Base::Hash(None), Some(_)) => Err(ChangeError::BaseRequired),
        (Base::Hash(Some(given)), Some(found)) if given == found => Ok(()),
        (Base::Hash(Some(_)), Some(_)) => Err(ChangeError::Conflict),
    }
}

/// The texts to save.
fn overlay(stored: Stored, edit: &Edit) -> Result<Overlay, ChangeError> {
    match edit {
        Edit::Replace { raw, force } => replacement(&stored, raw, *force),
        Edit::Merge { at, patch } => merge(stored, at, patch),
    }
}

fn replacement(stored: &Stored, raw: &str, force: bool) -> Result<Overlay, ChangeError> {
    let syntax = |error: ConfigError| {
        let mut problem = error.problems().first().cloned();
        ChangeError::Syntax(problem.take().unwrap_or_else(|| Problem::value(KeyPath::default(), "cannot be read")))
    };
    parse(&stored.path, raw).map_err(syntax)?;
    let before = stored.raw.as_deref();
    if let (Some(before), false) = (before, force) {
        if let Err(error) = parse(&stored.path, before) {
            let problem = error.problems().first().cloned();
            return Err(ChangeError::Unparsed(problem.unwrap_or_else(|| Problem::value(KeyPath::default(), "cannot be read"))));
        }
        if before.len() >= SHRINK_FROM && raw.len() * 2 < before.len() {
            return Err(ChangeError::Shrinks { from: before.len(), to: raw.len() });
        }
    }
    let text = restored(raw, before).map_err(ChangeError::Marker)?;
    if before == Some(text.as_str()) {
        return Ok(Overlay::new());
    }
    Ok(Overlay::from([(stored.real.clone(), text)]))
}

fn merge(stored: Stored, at: &KeyPath, patch: &Value) -> Result<Overlay, ChangeError> {
    let fix_first = |error: ConfigError| ChangeError::FixFirst(error.problems().to_vec());
    let document = match stored.document {
        Some(document) => document.map_err(fix_first)?,
        None => {
            let text = super::read_file::Text { real: stored.real, text: "{}\n".to_owned(), readable_by_others: false };
            Document::load(&stored.path, text, &Overlay::new()).map_err(fix_first)?
        }
    };
    let mut draft = Draft::of(document).map_err(fix_first)?;
    let mut patch = patch.clone();
    restore_value(&mut patch, at.find(draft.merged()), &mut at.clone()).map_err(ChangeError::Marker)?;
    draft.merge(at, &patch).map_err(ChangeError::Edit)?;
    Ok(draft.into_overlay())
}

#[cfg(test)]
mod tests;
