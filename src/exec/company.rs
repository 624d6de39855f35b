//! Whether a command is the only one of its shim or one of several, and so whose processes may be reaped and killed at its end.
//!
//! The only one may clean up all that is there. One of several looks at process groups: its own is known by its number, and what has founded a session of its own belongs to nobody that somebody waits for. What it leaves in other groups ends with the shim.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::time::{Instant, sleep};

use super::proc::{children, descendants, stat};
use super::sweep::{Swept, end_all, reap_all_but, sweep_all};

/// Pause between two looks while killed processes end.
const PASS: Duration = Duration::from_millis(2);

/// The commands of one shim. Clones are the same company.
#[derive(Clone, Debug)]
pub struct Company {
    known: Option<Arc<Mutex<Known>>>,
}

/// Groups by the process id of their leader.
#[derive(Debug, Default)]
struct Known {
    /// Those that run, with the processes that are waited for.
    alive: BTreeMap<u32, Vec<u32>>,
    /// Those that ended; what is left of them nobody waits for.
    ended: BTreeSet<u32>,
}

impl Company {
    /// That of a command which is the only one as long as it runs.
    #[must_use]
    pub fn alone() -> Self {
        Self { known: None }
    }

    /// One for several commands at once.
    #[must_use]
    pub fn several() -> Self {
        Self { known: Some(Arc::default()) }
    }

    /// A command begins. `pids` are its processes that are waited for; the first leads the group. To be said before anything else happens: until then another command may take it for an orphan, if it founded a session.
    #[must_use]
    pub fn join(&self, pids: &[u32]) -> Member {
        let group = pids.first().copied().unwrap_or_default();
        if let Some(known) = &self.known {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.ended.remove(&group);
            known.alive.insert(group, pids.to_vec());
        }
        Member { company: self.clone(), pids: pids.to_vec(), group }
    }
}

/// A command among those of its shim, until it is dropped.
#[derive(Debug)]
pub struct Member {
    company: Company,
    pids: Vec<u32>,
    group: u32,
}

impl Member {
    /// Reaps what has ended and what nobody waits for.
    pub fn reap(&self) {
        let Some(known) = &self.company.known else { return reap_all_but(&self.pids) };
        let own_session = stat(std::process::id()).map_or(0, |own| own.session);
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        for process in children(std::process::id()).into_iter().filter_map(stat).filter(super::proc::Stat::is_dead) {
            let waited_for = known.alive.values().any(|pids| pids.contains(&process.pid));
            // One that leads a group of our session may be a command that has not joined yet.
            let left_over = known.ended.contains(&process.pgrp) || known.alive.contains_key(&process.pgrp);
            let orphan = process.session != own_session || (left_over && process.pgrp != process.pid);
            if !waited_for
                && orphan
                && let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
            {
                // Taken by somebody else meanwhile: then there is nothing to do.
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            }
        }
    }

    /// Whether a process is of the command's group, or of the session that it founded for its terminal.
    fn owns(&self, process: &super::proc::Stat) -> bool {
        process.pgrp == self.group || process.session == self.group
    }

    /// Kills what is left of the command's group after a stop. Of the only command the shim does that when it ends.
    pub(super) async fn end_group(&self, limit: Duration) {
        if self.company.known.is_some() {
            self.sweep(limit).await;
        }
    }

    /// Kills what this command has left and holds its output open, for at most `limit`.
    pub(super) async fn sweep(&self, limit: Duration) -> Swept {
        if self.company.known.is_none() {
            return sweep_all(limit).await;
        }
        let until = Instant::now() + limit;
        let mut ended = BTreeSet::new();
        loop {
            let left: Vec<_> =
                descendants(std::process::id()).into_iter().filter(|process| self.owns(process) && !process.is_dead()).collect();
            end_all(&left, &mut ended);
            self.reap();
            if left.is_empty() || Instant::now() >= until {
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                return Swept { killed: count(ended.len()), left: count(left.len()) };
            }
            sleep(PASS).await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(known) = &self.company.known {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.alive.remove(&self.group);
            known.ended.insert(self.group);
        }
    }
}
