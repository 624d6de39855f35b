//! Starts a program of this machine only for what it says, and waits for its end. Beside the shims these are the processes that the daemon starts, and none of them is a run.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::orphans::Children;

/// How long it may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How much of what it says is read, bytes; less than a pipe holds, so that writing it never waits.
const MOST: u64 = 16 << 10;

/// What a program says on stdout, and how it ended. Whatever it started ends with it. Blocks, at worst for [`PATIENCE`].
///
/// # Errors
/// It cannot be started, or takes too long.
pub(super) fn output(command: &mut Command, children: &Children) -> io::Result<(ExitStatus, Vec<u8>)> {
    command.current_dir("/").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
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
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it took longer than {} s", PATIENCE.as_secs())));
    }
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MOST).read_to_end(&mut said)?;
    }
    Ok((status?, said))
}

fn ends_in_time(pid: Pid) -> io::Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            // The daemon handles signals, and one may be handled by this thread.
            Err(rustix::io::Errno::INTR) => {}
            ended => return Ok(ended? > 0),
        }
    }
}
