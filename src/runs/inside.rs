//! Which run a process belongs to: so that a command which finds the local socket comes in as the run that it is, and not as its owner.
//!
//! A run's host process is the reaper of all its descendants, so a process cannot leave the line of its ancestors by ending its parents; orphans of a host that was killed come to the daemon itself. What a run has other daemons of the machine start for it (a service manager, a scheduler) is outside of this, as it is outside of everything else that ends with the run.

use super::supervisor::Supervisor;
use crate::exec::proc;
use crate::protocol::ids::RunId;

/// Most ancestors that are looked at.
const DEPTH: usize = 4096;

/// Where a process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Outside of all runs.
    Outside,
    /// In this run; none = in one that is not known any more.
    Inside(Option<RunId>),
}

impl Supervisor {
    /// Where a process of this machine stands. One that is gone, or of another process namespace, could be anywhere and counts as inside.
    #[must_use]
    pub fn place_of(&self, pid: u32) -> Place {
        let hosts = self.hosted();
        let (own, mut at) = (std::process::id(), pid);
        for _ in 0..DEPTH {
            if let Some(host) = hosts.iter().find(|host| host.pid == at) {
                return Place::Inside(Some(host.run_id.clone()));
            }
            if at == own {
                // Its hosts were looked at before: this one lost its own, or speaks to itself.
                return Place::Inside(None);
            }
            if at == 1 {
                return Place::Outside;
            }
            match proc::stat(at) {
                Some(process) if process.ppid != 0 => at = process.ppid,
                // The first of its namespace, or of the kernel: nothing of ours is above it.
                Some(_) => return Place::Outside,
                None => return Place::Inside(None),
            }
        }
        Place::Inside(None)
    }
}
