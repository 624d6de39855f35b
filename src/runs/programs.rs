//! Asks an agent program that is installed here for its version, for whoever wants to know which runners there are.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::orphans::Children;
use crate::programs::probe::{self, Found};
use crate::programs::spec::Kind;

/// How long a program may take to say its version; one of them is a script that loads for more than a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of what it says is read, in bytes.
const MOST: u64 = 4096;

/// Whether the program of a kind is here, where, and which version. `command` is the configured command line, empty for the kind's own; `env` that of a run. Blocks for some seconds at worst.
#[must_use]
pub fn probe(kind: Kind, command: &[String], env: &BTreeMap<String, String>, children: &Children) -> Found {
    probe::probe(kind, command, env, |path| version(path, env, children).map_err(|cause| format!("{}: {cause}", path.display())))
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
    fn a_program_that_is_here_says_its_version_and_one_that_fails_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            vec![path.to_str().unwrap().to_owned()]
        };
        let env = BTreeMap::from([("PATH".to_owned(), "/bin:/usr/bin".to_owned())]);
        let ask = |command: &[String]| probe(Kind::Codex, command, &env, &Children::default());
        // One whose child holds its output open.
        let found = ask(&program("good", "sleep 60 & echo codex-cli 1.2.3"));
        assert_eq!((found.version.as_deref(), found.why_not), (Some("1.2.3"), None));
        let broken = ask(&program("broken", "exit 7"));
        assert!(broken.path.is_some() && broken.why_not.unwrap().contains("exit status: 7"));
        assert!(ask(&["no-such-program".to_owned()]).why_not.unwrap().contains("not installed"));
    }
}
