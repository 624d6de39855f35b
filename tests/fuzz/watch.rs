//! The parent of one target's process: hears its end, and ends it when one input takes too long.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::targets::Target;
use crate::{CURRENT, corpus};

/// How often it is looked whether the process comes on.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Processor time that one input may take. Time by the clock would say more about what else the machine does.
const STALL: Duration = Duration::from_secs(1);
/// Time by the clock that one input may take, for what waits instead of working.
const STUCK: Duration = Duration::from_secs(60);

/// Runs a target in a process of its own; gives what it says at its end.
///
/// # Errors
/// Why it failed, and where the input is.
pub fn supervise(target: &Target, time: Duration) -> Result<String, String> {
    let current = tempfile::NamedTempFile::new().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test that starts itself")]
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.env("SKYKOI_FUZZ_TARGETS", target.name).env(CURRENT, current.path()).env("SKYKOI_FUZZ_SECONDS", time.as_secs().to_string());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let slow = wait(&mut child, current.path());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let input = || corpus::keep(target, &input_of(current.path()));
    match (slow, status.code()) {
        (Some(why), _) => Err(format!("{why}; {}", input())),
        (None, Some(0)) => Ok(said.trim().to_owned()),
        // It has said why, and kept the input itself.
        (None, Some(1)) => Err("an input made it panic".to_owned()),
        (None, _) => Err(format!("it ended with {status}; {}", input())),
    }
}

/// Waits for the end of the process; says so when it had to be ended.
fn wait(child: &mut Child, current: &std::path::Path) -> Option<String> {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let (mut seen, mut since, mut worked) = (0, Instant::now(), Duration::ZERO);
    while poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LOOK)).unwrap() == 0 {
        let (count, cpu) = (count_of(current), processor_time(child.id()));
        if count != seen {
            (seen, since, worked) = (count, Instant::now(), cpu);
        }
        let busy = cpu.saturating_sub(worked);
        if busy >= STALL || since.elapsed() >= STUCK {
            child.kill().unwrap();
            return Some(format!("one input takes too long ({busy:?} of work, {:?} in all)", since.elapsed()));
        }
    }
    None
}

fn bytes_of(current: &std::path::Path) -> Vec<u8> {
    std::fs::read(current).unwrap()
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

fn count_of(current: &std::path::Path) -> u64 {
    number_at(&bytes_of(current), 0)
}

fn input_of(current: &std::path::Path) -> Vec<u8> {
    let bytes = bytes_of(current);
    let length = usize::try_from(number_at(&bytes, 8)).unwrap();
    bytes.get(16..16 + length).unwrap_or_default().to_vec()
}

/// What a process has used of the processors, by `/proc`.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
