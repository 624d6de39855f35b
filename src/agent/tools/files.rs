//! Files as tools may open them: relative paths begin in the workspace, the gateway's own are never opened, and a turn that is shut in stays beneath its workspace.
//!
//! What is judged is what was opened, by its descriptor; a name that somebody turns around meanwhile gains nothing.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::agent::spec::{AgentSpec, FileRules};
use crate::workspace::beneath::Dir;

/// Largest file that a tool reads or writes, bytes.
pub(in crate::agent) const MAX_FILE: u64 = 32 << 20;

/// The files of a turn.
#[derive(Debug)]
pub(in crate::agent) struct Files {
    root: PathBuf,
    /// The workspace as the configuration names it, perhaps by a link.
    named: PathBuf,
    rules: FileRules,
}

impl Files {
    /// The files of this turn. What is protected is looked up by its real path now.
    pub fn new(spec: &AgentSpec) -> Self {
        let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let rules = &spec.files;
        let protected = rules.protected.iter().map(real).collect();
        let attachments = rules.attachments.iter().map(real).collect();
        let (root, named) = (real(&spec.workspace), spec.workspace.clone());
        Self { root, named, rules: FileRules { protected, attachments, ..rules.clone() } }
    }

    /// The path that a model's word for a file or folder means; nothing is opened.
    pub fn path(&self, word: &str) -> PathBuf {
        let word = word.trim();
        if word == "~" || word.starts_with("~/") {
            let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
            if let Some(home) = home {
                return home.join(word.trim_start_matches(['~', '/']));
            }
        }
        // The folder itself without a dot behind it.
        if word == "." { self.root.clone() } else { self.root.join(word) }
    }

    /// Reads a plain file.
    ///
    /// # Errors
    /// What was wrong, for the model.
    pub fn read(&self, word: &str) -> Result<Vec<u8>, String> {
        let path = self.path(word);
        let say = |error: &io::Error| told(word, error);
        if let Some(inside) = self.beneath(&path).filter(|_| self.rules.workspace_only) {
            let found = Dir::open(&self.root).and_then(|dir| dir.read(&inside, MAX_FILE)).map_err(|error| say(&error))?;
            return found.map(|(bytes, _)| bytes).ok_or_else(|| format!("{word} does not exist."));
        }
        if self.rules.workspace_only && !self.is_attachment(&path) {
            return Err(outside(word));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| say(&errno.into()))?);
        let facts = file.metadata().map_err(|error| say(&error))?;
        self.permit(word, &opened(&file).map_err(|error| say(&error))?)?;
        if facts.is_dir() {
            return Err(format!("{word} is a directory. List it with `ls`, or name a file in it."));
        }
        if !facts.is_file() {
            return Err(format!("{word} is no plain file."));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| say(&error))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("{word} is larger than {} MiB. Read parts of it with a command.", MAX_FILE >> 20));
        }
        Ok(bytes)
    }

    /// Whether something is there, a link that leads nowhere included.
    pub fn exists(&self, word: &str) -> bool {
        self.path(word).symlink_metadata().is_ok()
    }

    /// Puts a file in place, whole or not at all; folders are made as needed.
    ///
    /// # Errors
    /// What was wrong, for the model.
    pub fn write(&self, word: &str, bytes: &[u8]) -> Result<(), String> {
        let (dir, name) = self.place(word, true)?;
        dir.write(&name, bytes).map_err(|error| told(word, &error))
    }

    /// Removes a plain file.
    ///
    /// # Errors
    /// What was wrong, for the model.
    pub fn remove(&self, word: &str) -> Result<(), String> {
        let (dir, name) = self.place(word, false)?;
        dir.remove(&name).map_err(|error| told(word, &error))
    }

    /// The folder and the name in it where a file is to be written.
    fn place(&self, word: &str, make: bool) -> Result<(Dir, String), String> {
        if self.rules.read_only {
            return Err("Nothing may be written in this session.".to_owned());
        }
        let path = self.path(word);
        let say = |error: &io::Error| told(word, error);
        if self.rules.workspace_only {
            let inside = self.beneath(&path).ok_or_else(|| outside(word))?;
            let (parent, name) = split(&inside).ok_or_else(|| format!("{word} names no file."))?;
            let root = Dir::open(&self.root).map_err(|error| say(&error))?;
            return Ok((root.below(parent, make).map_err(|error| say(&error))?, name));
        }
        // A link that the user made leads where it leads; what is written through it is judged by where that is.
        let path = path.canonicalize().unwrap_or(path);
        let (parent, name) = split(&path).ok_or_else(|| format!("{word} names no file."))?;
        // Before folders are made, and again by what was opened.
        let real = nearest(parent);
        self.permit(word, &real)?;
        if make {
            std::fs::create_dir_all(parent).map_err(|error| say(&error))?;
        }
        let dir = Dir::open(parent).map_err(|error| say(&error))?;
        let real = dir.real_path().map_err(|error| say(&error))?;
        self.permit(word, &real.join(&name))?;
        Ok((dir, name))
    }

    /// The path within the workspace, if it is beneath it by its letters.
    fn beneath(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix(&self.root).or_else(|_| path.strip_prefix(&self.named)).ok()?;
        let plain = inside.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        plain.then(|| inside.to_path_buf())
    }

    fn is_attachment(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|real| self.rules.attachments.contains(&real))
    }

    /// Whether a real path may be opened: the nearest folder above it that is protected or the workspace decides.
    fn permit(&self, word: &str, real: &Path) -> Result<(), String> {
        let depth = |above: &Path| real.starts_with(above).then(|| above.components().count());
        let guarded = self.rules.protected.iter().filter_map(|above| depth(above)).max();
        match guarded {
            Some(guarded)
                if depth(&self.root).is_none_or(|own| own < guarded) && !self.rules.attachments.iter().any(|file| file == real) =>
            {
                Err(format!("{word} belongs to the gateway and is not opened for tools."))
            }
            _ => Ok(()),
        }
    }
}

/// Folder and name.
fn split(path: &Path) -> Option<(&Path, String)> {
    let name = path.file_name()?.to_str()?.to_owned();
    Some((path.parent()?, name))
}

/// The real path of a folder that may not be there yet.
fn nearest(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        if let Ok(real) = at.canonicalize() {
            return missing.iter().rev().fold(real, |real, name| real.join(name));
        }
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return path.to_path_buf() };
        missing.push(name.to_owned());
        at = parent;
    }
}

/// The real path of what was opened.
fn opened(file: &File) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn outside(word: &str) -> String {
    format!("{word} is outside of the workspace, and this session may only use files in it.")
}

fn told(word: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{word} does not exist."),
        io::ErrorKind::PermissionDenied => format!("{word}: permission denied."),
        io::ErrorKind::NotADirectory => format!("{word}: a part of the path is no directory."),
        _ => format!("{word}: {error}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::spec;
    use std::os::unix::fs::symlink;

    fn files(dir: &Path, change: impl FnOnce(&mut AgentSpec)) -> Files {
        let mut spec = spec(&dir.join("w"));
        std::fs::create_dir_all(dir.join("w")).unwrap();
        change(&mut spec);
        Files::new(&spec)
    }

    #[test]
    fn relative_paths_begin_in_the_workspace_and_others_are_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), |_| {});
        files.write("a/b/c.txt", "é".as_bytes()).unwrap();
        assert_eq!(files.read("a/b/c.txt").unwrap(), "é".as_bytes());
        let out = dir.path().join("out.txt");
        files.write(out.to_str().unwrap(), b"x").unwrap();
        assert_eq!(files.read("../out.txt").unwrap(), b"x");
        assert_eq!(files.read("nothing").unwrap_err(), "nothing does not exist.");
        assert!(files.read("a").unwrap_err().contains("is a directory"));
        assert!(files.read("/dev/null").unwrap_err().contains("no plain file"));
        files.remove("a/b/c.txt").unwrap();
        assert!(!files.exists("a/b/c.txt"));
    }

    #[test]
    fn a_turn_that_is_shut_in_stays_beneath_its_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), |spec| spec.files.workspace_only = true);
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        symlink(dir.path(), dir.path().join("w/up")).unwrap();
        symlink("../secret", dir.path().join("w/link")).unwrap();
        let absolute = dir.path().join("secret");
        for word in ["../secret", "up/secret", "link", "a/../../secret", absolute.to_str().unwrap()] {
            assert!(files.read(word).is_err(), "{word}");
            assert!(files.write(word, b"x").is_err(), "{word}");
            assert!(files.remove(word).is_err(), "{word}");
        }
        assert_eq!(std::fs::read(dir.path().join("secret")).unwrap(), b"s");
        files.write("sub/new", b"x").unwrap();
        assert_eq!(files.read("sub/new").unwrap(), b"x");
        assert!(!dir.path().join("new").exists());
    }

    #[test]
    fn what_belongs_to_the_gateway_is_not_opened_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir_all(state.join("w")).unwrap();
        std::fs::create_dir_all(state.join("media")).unwrap();
        std::fs::write(state.join("config.json5"), "token").unwrap();
        std::fs::write(state.join("media/a.txt"), "mine").unwrap();
        let files = files(&state, |spec| {
            spec.files.protected = vec![state.clone()];
            spec.files.attachments = vec![state.join("media/a.txt")];
        });
        symlink(&state, dir.path().join("alias")).unwrap();
        symlink(state.join("config.json5"), state.join("w/link")).unwrap();
        let alias = dir.path().join("alias/config.json5");
        for word in ["../config.json5", "link", alias.to_str().unwrap(), "../new/file"] {
            assert!(files.read(word).is_err(), "{word}");
            assert!(files.write(word, b"x").unwrap_err().contains("belongs to the gateway"), "{word}");
        }
        assert!(!state.join("new").exists());
        assert_eq!(files.read("../media/a.txt").unwrap(), b"mine");
        // The workspace lies in the state directory and is open all the same.
        files.write("note", b"x").unwrap();
        assert_eq!(files.read("note").unwrap(), b"x");
    }

    #[test]
    fn nothing_is_written_when_reading_is_all_that_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), |spec| spec.files.read_only = true);
        std::fs::write(dir.path().join("w/a"), "1").unwrap();
        assert!(files.write("a", b"2").is_err() && files.remove("a").is_err());
        assert_eq!(files.read("a").unwrap(), b"1");
    }
}
