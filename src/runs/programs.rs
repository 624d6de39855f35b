//! Asks an agent program that is installed here for its version, for whoever wants to know which runners there are.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use tracing::debug;

use super::orphans::Children;
use super::supervisor::Supervisor;
use crate::programs::probe;

/// How long a program may take to say its version; one of them is a script that loads for more than a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of what it says is read, in bytes.
const MOST: u64 = 4096;

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
    command.arg("--version").env_clear().envs(env).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (mut child, pid) = children.spawn(|| {
        let child = command.spawn()?;
        let pid = child.id();
        Ok((child, pid))
    })?;
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let ended = group.ok_or_else(|| io::ErrorKind::NotFound.into()).and_then(ends_in_time);
    if let Some(group) = group {
        // Not reaped yet, so the number is still its own. What it started may hold its output open.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait();
    children.remove(pid);
    if !ended? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not say its version within {} s", PATIENCE.as_secs())));
    }
    let status = status?;
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MOST).read_to_end(&mut text)?;
    }
    if !status.success() {
        return Err(io::Error::other(format!("asked for its version, it ended with {status}")));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn ends_in_time(pid: Pid) -> io::Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    Ok(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_program_is_asked_for_its_version_once_and_one_that_fails_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
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
