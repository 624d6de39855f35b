//! Asks an agent program that is installed here for its version, for whoever wants to know which runners there are.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::debug;

use super::oneshot;
use super::orphans::Children;
use super::supervisor::Supervisor;
use crate::programs::probe;

/// Files whose versions are remembered.
const MOST_FILES: usize = 32;

/// What programs said their versions were. A file that was changed is asked again.
#[derive(Debug, Default)]
pub struct Versions(Mutex<HashMap<PathBuf, (SystemTime, Option<String>)>>);

impl Versions {
    /// What this program has said, if it was asked.
    #[must_use]
    pub fn known(&self, path: &Path) -> Option<String> {
        let changed = path.metadata().ok()?.modified().ok()?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path).filter(|(at, _)| *at == changed).and_then(|(_, version)| version.clone())
    }

    /// What this program says, asked once for each state of its file; none if it says nothing of use. `env` is the whole environment that it is asked in. Blocks for some seconds at worst.
    #[must_use]
    pub fn ask(&self, path: &Path, env: &BTreeMap<String, String>, children: &Children) -> Option<String> {
        let changed = path.metadata().ok()?.modified().ok()?;
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = lock().get(path).filter(|(at, _)| *at == changed) {
            return known.clone();
        }
        let said = match version(path, env, children) {
            Ok(text) => probe::version(&text),
            Err(cause) => {
                debug!(path = %path.display(), %cause, "a program did not say its version");
                None
            }
        };
        let mut known = lock();
        if known.len() >= MOST_FILES {
            known.clear();
        }
        known.insert(path.to_owned(), (changed, said.clone()));
        said
    }
}

impl Supervisor {
    /// The register of child processes that are the gateway's own.
    #[must_use]
    pub fn children(&self) -> Children {
        self.inner.launcher.children.clone()
    }
}

fn version(path: &Path, env: &BTreeMap<String, String>, children: &Children) -> io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "it only says its version, and is no run")]
    let mut command = Command::new(path);
    let (status, said) = oneshot::output(command.arg("--version").env_clear().envs(env), children)?;
    if !status.success() {
        return Err(io::Error::other(format!("asked for its version, it ended with {status}")));
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::policy::trust::tests::put;
    use std::fs;

    #[test]
    fn a_program_is_asked_for_its_version_once_and_one_that_fails_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| put(&dir, name, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755);
        let env = BTreeMap::from([("PATH".to_owned(), "/bin:/usr/bin".to_owned())]);
        let (versions, children) = (Versions::default(), Children::default());
        let ask = |path: &Path| versions.ask(path, &env, &children);
        // One whose child holds its output open, and that counts how often it is asked.
        let good = program("good", "echo >> \"$0.asked\"; sleep 60 & echo codex-cli 1.2.3");
        assert_eq!(versions.known(&good), None);
        assert_eq!((ask(&good).as_deref(), ask(&good).as_deref()), (Some("1.2.3"), Some("1.2.3")));
        assert_eq!(versions.known(&good).as_deref(), Some("1.2.3"));
        assert_eq!(fs::read_to_string(dir.path().join("good.asked")).unwrap(), "\n");
        assert_eq!(ask(&program("broken", "exit 7")), None);
        assert_eq!(ask(&dir.path().join("none")), None);
        let failed = version(&dir.path().join("broken"), &env, &children).unwrap_err();
        assert!(failed.to_string().contains("exit status: 7"));
    }
}
