//! The first files of a workspace: short, so that they are read, and never written over.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::beneath::Dir;

/// Each file and its first text. `BOOTSTRAP.md` stands last: it is only for a workspace that has none of the others.
const TEXTS: [(&str, &str); 7] = [
    (
        "AGENTS.md",
        "# How to work here\n\nThis directory is home: files, notes and results live here.\n\n- Read SOUL.md and USER.md first; they say who you are and whom you help.\n- Write down what should outlast a conversation: days in `memory/`, what stays true in MEMORY.md.\n- Ask before anything that cannot be undone or that leaves this machine.\n- Private things stay private.\n",
    ),
    (
        "SOUL.md",
        "# Who you are\n\n- Help for real: do the work, then say what was done and what was not.\n- Have an opinion and give the reason for it.\n- Try first, ask when stuck.\n- Be careful with what was entrusted to you.\n",
    ),
    ("TOOLS.md", "# Notes on tools\n\nWhat is special about this machine: hosts, names, paths, habits. One line each.\n"),
    (
        "IDENTITY.md",
        "# Identity\n\nLines of the form `- Name: value` are shown by front ends: Name, Emoji, Theme, Avatar (a URL, or an image in this directory).\n",
    ),
    ("USER.md", "# Whom you help\n\n- Name:\n- What to call them:\n- Time zone:\n- Notes:\n"),
    ("HEARTBEAT.md", "# Heartbeat\n\n<!-- What to look after regularly, one line each. Empty: nothing. -->\n"),
    (
        "BOOTSTRAP.md",
        "# First conversation\n\nThis workspace is new. Find out together: your name, how you speak, whom you help.\nWrite it to IDENTITY.md, SOUL.md and USER.md, then delete this file.\n",
    ),
];

/// Makes the directory, mode 0700, if it is not there.
///
/// # Errors
/// What the file system says.
pub fn make(workspace: &Path) -> io::Result<()> {
    if workspace.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(workspace)
}

/// Makes the directory and the files that are missing in it. Returns how many it made.
///
/// # Errors
/// What the file system says; files made until then stay.
pub fn seed(workspace: &Path) -> io::Result<usize> {
    make(workspace)?;
    let dir = Dir::open(workspace)?;
    // Whatever is in a file's place, it is not missing.
    let missing: Vec<_> = TEXTS.iter().filter(|(name, _)| matches!(dir.facts(Path::new(name)), Ok(None))).collect();
    let is_new = missing.len() == TEXTS.len();
    let wanted = missing.into_iter().filter(|(name, _)| is_new || *name != "BOOTSTRAP.md");
    let mut made = 0;
    for (name, text) in wanted {
        dir.write(name, text.as_bytes())?;
        made += 1;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::files::NAMES;

    #[test]
    fn a_new_workspace_gets_every_file_and_an_old_one_only_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        assert_eq!(seed(&new).unwrap(), NAMES.len());
        assert!(NAMES.iter().all(|name| new.join(name).is_file()));
        std::fs::write(new.join("SOUL.md"), "mine").unwrap();
        std::fs::remove_file(new.join("BOOTSTRAP.md")).unwrap();
        std::fs::remove_file(new.join("USER.md")).unwrap();
        assert_eq!(seed(&new).unwrap(), 1);
        assert_eq!(std::fs::read_to_string(new.join("SOUL.md")).unwrap(), "mine");
        assert!(!new.join("BOOTSTRAP.md").exists(), "it was done and deleted");
        std::os::unix::fs::symlink("/etc/passwd", new.join("BOOTSTRAP.md")).unwrap();
        assert_eq!(seed(&new).unwrap(), 0);
    }
}
