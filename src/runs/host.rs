//! Asks a process of its own what this machine can give to isolated runs.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::orphans::Children;
use crate::protocol::isolation::{Abilities, Ability};

/// How long the trials may take together.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `program probe` says. A trial that cannot be made counts as one that failed: nothing is promised that was not seen.
#[must_use]
pub fn abilities(program: &Path, children: &Children) -> Abilities {
    ask(program, children).unwrap_or_else(|cause| {
        let failed = Ability::of(Err(format!("the trial could not be made: {cause}")));
        Abilities { workspace: failed.clone(), strict: failed.clone(), filtered_network: failed, ..Abilities::default() }
    })
}

fn ask(program: &Path, children: &Children) -> io::Result<Abilities> {
    #[expect(clippy::disallowed_methods, reason = "beside the shims, this is the one process that the daemon starts, and it is no run")]
    let mut command = Command::new(program);
    command.arg("probe").env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (mut child, pid) = children.spawn(|| {
        let child = command.spawn()?;
        let pid = child.id();
        Ok((child, pid))
    })?;
    let ended = ends_in_time(pid);
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait();
    children.remove(pid);
    if !ended? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it took longer than {} s", PATIENCE.as_secs())));
    }
    let status = status?;
    let mut text = String::new();
    if let Some(stdout) = &mut child.stdout {
        // What it says fits into the pipe, so it is all there.
        stdout.read_to_string(&mut text)?;
    }
    serde_json::from_str(&text).map_err(|_| io::Error::other(format!("it ended with {status} and without an answer")))
}

fn ends_in_time(pid: u32) -> io::Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    Ok(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_cannot_be_made_promises_nothing() {
        for program in ["/no/such/program", "/bin/true"] {
            let found = abilities(Path::new(program), &Children::default());
            assert!(!found.workspace.available && !found.strict.available && !found.filtered_network.available, "{program}");
            assert!(found.strict.missing.is_some_and(|missing| missing.starts_with("the trial could not be made")));
        }
    }
}
