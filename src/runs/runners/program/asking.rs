//! What a program may do when it asks: commands are judged by the daemon's gate, reading is free, and writing stays in the run's folder.

use std::path::{Component, Path, PathBuf};

use crate::programs::approver::{Answer, Approver, Decision, Effect, Question};
use crate::runs::sink::RunSink;

/// Who answers the questions of a program.
#[derive(Clone, Debug)]
pub struct Gatekeeper {
    cwd: PathBuf,
}

impl Gatekeeper {
    /// One for a run in `cwd`.
    pub fn new(_out: &RunSink, cwd: &Path) -> Self {
        Self { cwd: cwd.to_owned() }
    }

    fn may(&self, question: &Question) -> Decision {
        match &question.effect {
            Effect::Read => Decision::Allow,
            Effect::Write(files) if !files.is_empty() && files.iter().all(|file| is_below(&self.cwd, file)) => Decision::Allow,
            Effect::Write(_) => deny("it would write outside of the folder of this run, or does not say where"),
            Effect::Command => deny("nobody can be asked about commands in this version"),
            Effect::Other => {
                deny(format!("the gateway does not know what {} would do; allow it in the program's own configuration", question.tool))
            }
        }
    }
}

impl Approver for Gatekeeper {
    fn ask(&self, question: Question) -> Answer {
        let decision = self.may(&question);
        Box::pin(async move { decision })
    }
}

fn deny(reason: impl Into<String>) -> Decision {
    Decision::Deny { reason: reason.into() }
}

/// Whether a file is, or would be, below the folder, links followed as far as they are there.
fn is_below(folder: &Path, file: &Path) -> bool {
    if file.components().any(|part| part == Component::ParentDir) {
        return false;
    }
    let file = folder.join(file);
    let Ok(folder) = folder.canonicalize() else { return false };
    // A link to nowhere would be written through.
    let is_there = |file: &&Path| file.symlink_metadata().is_ok();
    let known = file.ancestors().find(is_there).and_then(|known| known.canonicalize().ok());
    known.is_some_and(|known| known.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_stays_in_the_folder_whatever_the_path_looks_like() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ws");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("out")).unwrap();
        std::os::unix::fs::symlink("/no/such/file", folder.join("dangling")).unwrap();
        for inside in ["new", "sub/new", "sub/a/b/c"] {
            assert!(is_below(&folder, Path::new(inside)) && is_below(&folder, &folder.join(inside)), "{inside}");
        }
        for outside in ["../x", "/etc/passwd", "out/x", "sub/../../x", "dangling", "/"] {
            assert!(!is_below(&folder, Path::new(outside)), "{outside}");
        }
    }
}
