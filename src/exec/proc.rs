//! What the kernel says about processes, from `/proc`.
//!
//! A pid alone names nobody for long; a pid with its start time and the boot id does.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::protocol::event::agent::HostProcess;

/// The fields of `/proc/<pid>/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: u32,
    /// State letter, such as `R`, `S`, `Z`.
    pub state: char,
    /// Parent.
    pub ppid: u32,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub session: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Whether it has ended and only waits to be reaped.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Looks a process up. `None` if it is gone.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of a process may hold spaces and parentheses, so the fields are counted from the last `)`.
fn parse_stat(pid: u32, text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    let pgrp = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Field 22 of the line; 15 fields lie between the session and it.
    let start_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat { pid, state, ppid, pgrp, session, start_ticks })
}

/// Every process of the machine.
#[must_use]
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The children of a process, dead ones that nobody reaped included.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// All living and dead descendants of a process, parents before children.
#[must_use]
pub fn descendants(pid: u32) -> Vec<Stat> {
    let mut found: Vec<Stat> = Vec::new();
    let mut open = children(pid);
    while let Some(pid) = open.pop() {
        // A process can move in the tree while it is being read; meeting one twice must not loop.
        if found.iter().any(|known| known.pid == pid) {
            continue;
        }
        if let Some(stat) = stat(pid) {
            found.push(stat);
            open.extend(children(pid));
        }
    }
    found
}

/// Whether `environ` of the process holds exactly this `NAME=value`. False if it cannot be read.
#[must_use]
pub fn has_env(pid: u32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| text.split(|byte| *byte == 0).any(|have| have == entry.as_bytes()))
}

/// The id of this boot of the kernel; empty if the kernel does not say.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// When this boot of the kernel began, ms since the epoch, by the wall clock as it stands now.
#[must_use]
pub fn booted_at_ms() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let seconds: u64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(seconds * 1000)
}

/// How long this boot of the kernel has lasted, with the time that the machine slept, in ms.
#[must_use]
pub fn uptime_ms() -> Option<u64> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
}

/// This process, as the first line of a journal of version `v` names it.
#[must_use]
pub fn this_process(v: u32) -> HostProcess {
    let pid = std::process::id();
    let start_ticks = stat(pid).map_or(0, |stat| stat.start_ticks);
    HostProcess { v, pid, start_ticks, boot_id: boot_id() }
}

/// Kills exactly the process that was seen, never another one that got its pid since. Returns whether the signal was sent.
///
/// # Errors
/// If the kernel refuses, for example because the process belongs to another user.
pub fn kill_exactly(seen: &Stat) -> io::Result<bool> {
    let Some(pid) = i32::try_from(seen.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(failed) => return Err(failed.into()),
    };
    // From here on the descriptor cannot come to mean another process, so this look decides.
    if stat(seen.pid).is_none_or(|now| now.start_ticks != seen.start_ticks) {
        return Ok(false);
    }
    match pidfd_send_signal(&fd, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(failed) => Err(failed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c)) S 3 4 5 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 1\n";
        let stat = parse_stat(7, line).unwrap();
        assert_eq!((stat.state, stat.ppid, stat.pgrp, stat.session, stat.start_ticks), ('S', 3, 4, 5, 4242));
        assert_eq!(parse_stat(7, "7 (a) S 1"), None);
        assert_eq!(parse_stat(7, ""), None);
    }

    #[test]
    fn this_process_is_found_and_has_a_start_time() {
        let me = this_process(1);
        assert_eq!(stat(me.pid).unwrap().start_ticks, me.start_ticks);
        assert!(me.start_ticks > 0 && !me.boot_id.is_empty());
        assert!(all().contains(&me.pid));
    }

    #[test]
    fn a_process_with_another_start_time_is_not_killed() {
        let mut me = stat(std::process::id()).unwrap();
        me.start_ticks += 1;
        assert!(!kill_exactly(&me).unwrap());
    }
}
