//! Ends every process that descends from this one, until the kernel says that there is none.
//!
//! Works because a shim is a subreaper: whoever forks twice, founds a session or closes its pipes is still our descendant.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::time::{Instant, sleep};

use super::proc::{Stat, children, descendants, kill_exactly};

/// Pause between two passes while killed processes end.
const PASS: Duration = Duration::from_millis(2);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many living processes were ended: killed, or gone with another one that was (the first one of a namespace takes all others along).
    pub killed: u32,
    /// How many were still there at the deadline (stuck in the kernel).
    pub left: u32,
}

/// Kills and reaps all descendants of this process, for at most `limit`. Only a shim may call this: it spares nobody.
pub async fn sweep_all(limit: Duration) -> Swept {
    let until = Instant::now() + limit;
    let mut ended = BTreeSet::new();
    loop {
        // Whole trees at once, from the top: killing only the first row would race with a process that forks faster.
        end_all(&descendants(std::process::id()), &mut ended);
        reap_all_but(&[]);
        let left = children(std::process::id()).len();
        if left == 0 || Instant::now() >= until {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            return Swept { killed: count(ended.len()), left: count(left) };
        }
        sleep(PASS).await;
    }
}

/// Kills those of `seen` that live, and adds each of them that is gone or going to `ended`, by its id and start. One that the kernel does not let us kill is not added.
pub(super) fn end_all(seen: &[Stat], ended: &mut BTreeSet<(u32, u64)>) {
    for process in seen.iter().filter(|process| !process.is_dead()) {
        // It may be gone by now because one that was killed before it took it along: that is our work too.
        if kill_exactly(process).is_ok() {
            ended.insert((process.pid, process.start_ticks));
        }
    }
}

/// Reaps the children of this process that have ended, except `spared`, which somebody else waits for. By pid, never "any child".
pub fn reap_all_but(spared: &[u32]) {
    for pid in children(std::process::id()) {
        if spared.contains(&pid) {
            continue;
        }
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        // Not ended yet, or taken by somebody else: the next pass sees.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Whether a living process of this group descends from us.
#[must_use]
pub fn group_lives(group: u32) -> bool {
    descendants(std::process::id()).iter().any(|process| process.pgrp == group && !process.is_dead())
}
