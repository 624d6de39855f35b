//! Processes that a killed shim left behind, and how the daemon finds and ends them.
//!
//! The daemon is a subreaper like its shims: when a shim dies, its orphans become children of the daemon. A child of ours that we did not start is therefore such an orphan ([`Children::reap_orphans`]), unless it is a shim: a daemon that has executed itself anew finds its shims as children.
//! A shim of an *earlier* daemon leaves its orphans to init; they are found by the session that the shim founded and by the run's mark in their environment ([`sweep_run`]).

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exec::env::MARKER;
use crate::exec::proc::{Stat, all, boot_id, children, has_env, kill_exactly, stat};
use crate::protocol::event::agent::HostProcess;

/// How long a sweep goes on if processes keep appearing.
const SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// Makes orphaned descendants children of this process instead of init's.
///
/// # Errors
/// If the kernel refuses.
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// The register of the children that are no orphans, by pid.
#[derive(Clone, Debug, Default)]
pub struct Children(Arc<Mutex<HashMap<u32, Known>>>);

/// A child that is no orphan.
#[derive(Clone, Copy, Debug)]
struct Known {
    start_ticks: u64,
    /// A shim of the daemon that this process was before it executed itself anew; nobody but us will reap it.
    inherited: bool,
}

impl Children {
    /// The register of a daemon that has started nothing yet: the shims that are its children already, because the same process was a daemon before.
    #[must_use]
    pub fn inherited() -> Self {
        let shims = children(std::process::id()).into_iter().filter(|pid| is_shim(*pid)).filter_map(stat);
        let known = shims.map(|shim| (shim.pid, Known { start_ticks: shim.start_ticks, inherited: true }));
        Self(Arc::new(Mutex::new(known.collect())))
    }

    /// Starts a child and registers it in one step, so that it is never taken for an orphan.
    ///
    /// # Errors
    /// What `start` says.
    pub fn spawn<T>(&self, start: impl FnOnce() -> io::Result<(T, u32)>) -> io::Result<(T, u32)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (child, pid) = start()?;
        // The child is not reaped yet, so it has a line even if it has ended.
        known.insert(pid, Known { start_ticks: stat(pid).map_or(0, |stat| stat.start_ticks), inherited: false });
        Ok((child, pid))
    }

    /// Forgets a child that has been reaped.
    pub fn remove(&self, pid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }

    /// Kills and reaps every child of this process that is not registered. Returns how many living ones were killed.
    pub fn reap_orphans(&self) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let strangers = children(std::process::id()).into_iter().filter_map(stat);
        let is_known = |child: &Stat| {
            known.get(&child.pid).is_some_and(|own| own.start_ticks == child.start_ticks && !(own.inherited && child.is_dead()))
        };
        let orphans: Vec<Stat> = strangers.filter(|child| !is_known(child)).collect();
        drop(known);
        let killed = orphans.iter().filter(|orphan| !orphan.is_dead() && kill_exactly(orphan).unwrap_or(false)).count();
        for orphan in &orphans {
            reap(orphan.pid);
        }
        killed
    }

    /// Reaps orphans whenever a child ends, until `stop`.
    ///
    /// # Errors
    /// If the signal cannot be listened to.
    pub async fn watch(&self, stop: CancellationToken) -> io::Result<()> {
        let mut ended = signal(SignalKind::child())?;
        loop {
            // Orphans that were killed just now end a moment later and are announced by another signal.
            let children = self.clone();
            let _ = tokio::task::spawn_blocking(move || children.reap_orphans()).await;
            tokio::select! {
                _ = ended.recv() => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}

/// Whether the process is one of our shims: it was started as `… shim`.
fn is_shim(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"shim".as_slice())
}

/// Reaps exactly this child if it has ended. Never "any child", which would steal the statuses of others.
fn reap(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Not ended yet, or not ours any more: both are for another time.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Kills what a dead shim of an earlier daemon left behind, and returns how many processes that were. Blocks up to five seconds.
///
/// After a reboot there is nothing to find and the marks would name strangers, so a different boot id ends it at once.
#[must_use]
pub fn sweep_run(file_id: &str, host: &HostProcess) -> usize {
    if host.boot_id != boot_id() {
        return 0;
    }
    let until = Instant::now() + SWEEP_LIMIT;
    let mut killed = HashSet::new();
    let mut empty_passes = 0;
    // Twice empty, because a process can be missed while its parent is just forking it.
    while empty_passes < 2 && Instant::now() < until {
        let found = find(file_id, host);
        if found.is_empty() {
            empty_passes += 1;
            continue;
        }
        empty_passes = 0;
        killed.extend(
            found.iter().filter(|process| kill_exactly(process).unwrap_or(false)).map(|process| (process.pid, process.start_ticks)),
        );
        std::thread::yield_now();
    }
    killed.len()
}

fn find(file_id: &str, host: &HostProcess) -> Vec<Stat> {
    let mark = format!("{MARKER}={file_id}");
    // While a process of the shim's session lives, its number is not given to anybody else. If it has been, the session is a stranger's.
    let session_is_theirs = stat(host.pid).is_none_or(|now| now.start_ticks == host.start_ticks);
    let me = std::process::id();
    let ours = |process: &Stat| {
        let in_session = session_is_theirs && process.session == host.pid && process.start_ticks >= host.start_ticks;
        process.pid != me && !process.is_dead() && (in_session || has_env(process.pid, &mark))
    };
    all().into_iter().filter_map(stat).filter(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::proc::this_process;

    #[test]
    fn after_a_reboot_nothing_is_swept() {
        let host = HostProcess { boot_id: "another".into(), ..this_process(1) };
        assert_eq!(sweep_run("f", &host), 0);
    }

    #[test]
    fn a_session_whose_number_went_to_a_stranger_is_left_alone() {
        let me = this_process(1);
        let host = HostProcess { start_ticks: me.start_ticks.saturating_sub(1), ..me };
        assert!(find("no-such-run", &host).is_empty());
    }

    #[test]
    fn a_child_is_registered_with_its_start_time_until_it_is_removed() {
        let children = Children::default();
        let me = std::process::id();
        children.spawn(|| Ok(((), me))).unwrap();
        assert_eq!(children.0.lock().unwrap().get(&me).map(|known| known.start_ticks), Some(stat(me).unwrap().start_ticks));
        children.remove(me);
        assert!(children.0.lock().unwrap().is_empty());
    }
}
