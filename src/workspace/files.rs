//! The files of instructions in a workspace: which there are, and what stands in them.

use std::io;
use std::path::{Path, PathBuf};

use super::beneath::{Dir, Facts};

/// The files that every workspace may have, in the order shown to clients.
pub const NAMES: [&str; 7] = ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md"];
/// The file of memories, by either of its names.
pub const MEMORY: [&str; 2] = ["MEMORY.md", "memory.md"];
/// Largest file that is read or written, bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// One file of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceFile {
    /// Its name.
    pub name: &'static str,
    /// Its path.
    pub path: PathBuf,
    /// What is known of it; none if it is not there, or is something else than a plain file.
    pub facts: Option<Facts>,
}

/// The name as it stands in the table; `None` for any other.
#[must_use]
pub fn known(name: &str) -> Option<&'static str> {
    NAMES.into_iter().chain(MEMORY).find(|known| *known == name)
}

/// The files of a workspace. Of the two names of the file of memories the one that is there is listed.
#[must_use]
pub fn list(workspace: &Path) -> Vec<WorkspaceFile> {
    let dir = Dir::open(workspace).ok();
    let facts = |name: &str| dir.as_ref().and_then(|dir| dir.facts(Path::new(name)).ok().flatten());
    let memory = MEMORY.into_iter().find(|name| facts(name).is_some()).unwrap_or("MEMORY.md");
    let names = NAMES.into_iter().chain([memory]);
    names.map(|name| WorkspaceFile { name, path: workspace.join(name), facts: facts(name) }).collect()
}

/// A file and its text; none of it if it is not there.
///
/// # Errors
/// It is a link, no plain file or too large, or what the file system says.
pub fn get(workspace: &Path, name: &'static str) -> io::Result<(WorkspaceFile, Option<String>)> {
    let read = match Dir::open(workspace) {
        Ok(dir) => dir.read(Path::new(name), MAX_BYTES)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let (text, facts) = read.map(|(bytes, facts)| (String::from_utf8_lossy(&bytes).into_owned(), facts)).unzip();
    Ok((WorkspaceFile { name, path: workspace.join(name), facts }, text))
}

/// Puts a text in a file, whole or not at all; makes the workspace if it is not there.
///
/// # Errors
/// A link or something else is in its place, or what the file system says.
pub fn set(workspace: &Path, name: &'static str, text: &str) -> io::Result<WorkspaceFile> {
    super::seed::make(workspace)?;
    let dir = Dir::open(workspace)?;
    dir.write(name, text.as_bytes())?;
    let facts = dir.facts(Path::new(name))?;
    Ok(WorkspaceFile { name, path: workspace.join(name), facts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_read_and_written_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("new/w");
        assert!(list(&workspace).iter().all(|file| file.facts.is_none()));
        assert_eq!(get(&workspace, "SOUL.md").unwrap().1, None);
        let file = set(&workspace, "SOUL.md", "kind").unwrap();
        assert_eq!((file.facts.unwrap().size, file.path), (4, workspace.join("SOUL.md")));
        assert_eq!(get(&workspace, "SOUL.md").unwrap().1.as_deref(), Some("kind"));
        let listed: Vec<_> = list(&workspace).into_iter().map(|file| (file.name, file.facts.is_some())).collect();
        assert_eq!(listed.len(), 8);
        assert!(listed.contains(&("SOUL.md", true)) && listed.contains(&("MEMORY.md", false)));
        std::fs::write(workspace.join("memory.md"), "m").unwrap();
        assert!(list(&workspace).iter().any(|file| file.name == "memory.md" && file.facts.is_some()));
        assert_eq!(
            (known("SOUL.md"), known("soul.md"), known("../SOUL.md"), known("memory.md")),
            (Some("SOUL.md"), None, None, Some("memory.md"))
        );
    }
}
