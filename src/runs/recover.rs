//! What becomes of the runs that an earlier daemon left unfinished; done before the first connection is accepted.
//!
//! ```text
//! journal locked           → its shim lives: follow it
//! journal with a last line → it ended: commit the outcome
//! journal absent or empty  → it never started: back into the queue, in order; unless the machine was restarted since its turn came,
//!                            which may have taken the first lines with it
//! anything else            → its shim died: sweep what it left, end it as interrupted, never run it again
//! ```

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::control::{self, ToShim};
use super::follow::Tail;
use super::launcher;
use super::live::{Ended, Live};
use super::socket;
use super::supervisor::Supervisor;
use crate::clock::now_ms;
use crate::exec::proc;
use crate::failpoint::failpoint;
use crate::journal;
use crate::journal::scan::Scan;
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::store::error::StoreError;

/// How long between two tries to reach a shim that lives but does not listen yet.
const CONNECT_POLL: Duration = Duration::from_millis(20);

/// How many runs met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Their shims go on.
    pub adopted: usize,
    /// They had ended.
    pub ended: usize,
    /// They had not begun and wait again.
    pub requeued: usize,
    /// They were lost.
    pub interrupted: usize,
}

enum Fate {
    Adopt,
    Ended(Ended),
    Requeue,
    Interrupt(Outcome),
}

impl Supervisor {
    /// Decides the fate of every unfinished run. With `hold`, those that wait are not started before [`Self::release_held`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recover(&self, hold: bool) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        let mut requeue = Vec::new();
        let (merged, runs): (Vec<_>, Vec<_>) = self.inner.store.unfinished().await?.into_iter().partition(|run| run.merged_into.is_some());
        let mut carried: HashMap<String, Vec<Arc<Live>>> = HashMap::new();
        for record in merged {
            let carrier = record.merged_into.clone().unwrap_or_default();
            carried.entry(carrier).or_default().push(self.add(record));
        }
        let lives: Vec<Arc<Live>> = runs.into_iter().map(|record| self.add(record)).collect();
        for live in &lives {
            for other in carried.remove(&live.record.file_id).unwrap_or_default() {
                live.carry(&other);
            }
        }
        self.join_told(&lives).await?;
        for live in lives.into_iter().filter(|live| live.carrier().is_none()) {
            failpoint!("runs.recover");
            match self.fate(&live).await {
                Fate::Adopt => {
                    recovered.adopted += 1;
                    self.follow_adopted(&live).await;
                }
                Fate::Ended(ended) => {
                    recovered.ended += 1;
                    self.catch_up(&live);
                    self.finish(&live, ended).await;
                }
                Fate::Requeue => {
                    recovered.requeued += 1;
                    requeue.push(live);
                }
                Fate::Interrupt(outcome) => {
                    recovered.interrupted += 1;
                    self.close_unstarted(&live, outcome).await;
                }
            }
        }
        for (carrier, others) in carried {
            recovered.ended += others.len();
            self.finish_orphaned(&carrier, others).await?;
        }
        for live in requeue {
            if hold {
                self.hold(&live);
            } else {
                self.enqueue(&live, None);
            }
        }
        if recovered != Recovered::default() {
            info!(?recovered, "unfinished runs of the last daemon");
        }
        Ok(recovered)
    }

    /// Ends runs whose carrier had ended already.
    async fn finish_orphaned(&self, carrier: &str, others: Vec<Arc<Live>>) -> Result<(), StoreError> {
        let carrier = self.inner.store.run_by_file(carrier).await?;
        let (run_id, outcome) = carrier.map_or((None, None), |carrier| (Some(carrier.run_id), carrier.outcome));
        let outcome = outcome.unwrap_or_else(|| {
            let summary = "interrupted: the run that answered it is not known any more";
            Outcome::without_work(RunStatus::Interrupted, Some(RunErrorCode::Unavailable), summary, now_ms())
        });
        for other in others {
            self.close_unstarted(&other, Outcome { merged_into: run_id.clone(), ..outcome.clone() }).await;
        }
        Ok(())
    }

    async fn fate(&self, live: &Live) -> Fate {
        if let Ok(true) = launcher::is_locked(&live.journal) {
            return Fate::Adopt;
        }
        let lost_its_lines = lost_with_the_machine(live, proc::booted_at_ms());
        match journal::scan::scan_path(&live.journal, &live.record.run_id) {
            Ok(Scan { outcome: Some(outcome), head, .. }) => Fate::Ended(Ended { outcome, head }),
            Ok(found) if found.never_started() && !lost_its_lines => {
                // Half of a first line: the command is only started behind a whole one. The new shim begins with an empty file.
                if found.file_len > 0
                    && let Err(cause) = empty(&live.journal)
                {
                    warn!(run_id = %live.record.run_id, %cause, "the journal of a run that never started cannot be emptied");
                }
                Fate::Requeue
            }
            Ok(found) => {
                self.sweep(&live.record.file_id, &found).await;
                let mut outcome = journal::close::interrupted(&found, now_ms());
                if lost_its_lines {
                    outcome.may_have_run = Some(true);
                    outcome.summary = "interrupted: the machine was restarted".to_owned();
                }
                Fate::Interrupt(outcome)
            }
            Err(cause) => {
                warn!(run_id = %live.record.run_id, %cause, "the journal of a run cannot be read");
                let summary = format!("interrupted; its journal cannot be read: {cause}");
                Fate::Interrupt(Outcome::without_work(RunStatus::Interrupted, Some(RunErrorCode::Unavailable), summary, now_ms()))
            }
        }
    }

    async fn follow_adopted(&self, live: &Arc<Live>) {
        let mut tail = self.tail(live);
        // Lines of the time without a daemon are history, not news: readers find them by their cursor. So they are taken over before anybody connects.
        if let Some(ended) = tail.catch_up().await {
            return self.finish(live, ended).await;
        }
        self.adopt(live);
        if let Some(host) = super::hosted::host_in(&live.journal) {
            live.set_host(host);
        }
        let (supervisor, live) = (self.clone(), Arc::clone(live));
        self.inner.tasks.spawn("run.adopted", async move {
            let socket = supervisor.socket_path(&live.record.file_id);
            let ended = loop {
                if let Ok(mut stream) = socket::connect(&socket).await {
                    // A shim that ends just now does not hear this; following it finds its last line.
                    let _ = control::send(&mut stream, &ToShim::Hello { v: control::VERSION }).await;
                    break Some(supervisor.follow(&live, stream, None).await);
                }
                // A shim that was just being started listens in a moment; one that died lets go of the lock. One that could not open its socket is followed by looking.
                if !matches!(launcher::is_locked(&live.journal), Ok(true)) {
                    break supervisor.after_shim(&live, &mut tail).await;
                }
                if let Some(ended) = tail.catch_up().await {
                    break Some(ended);
                }
                tokio::time::sleep(CONNECT_POLL).await;
            };
            match ended {
                Some(ended) => supervisor.finish(&live, ended).await,
                None => supervisor.start_again(&live),
            }
        });
    }

    /// The end of an adopted run whose shim is gone; none = it never started and may run.
    async fn after_shim(&self, live: &Arc<Live>, tail: &mut Tail) -> Option<Ended> {
        let never_started = journal::scan::scan_path(&live.journal, &live.record.run_id).is_ok_and(|found| found.never_started());
        if never_started {
            return None;
        }
        Some(self.await_lock(live, tail).await)
    }
}

/// Empties a journal that nobody holds.
fn empty(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if journal::close::try_lock(&file)? { file.set_len(0) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Whether the run's turn had come before the machine was started: its journal may have had lines that never reached the disk.
fn lost_with_the_machine(live: &Live, booted_at: Option<u64>) -> bool {
    let turn_came = live.record.started_at.filter(|_| live.record.status == RunStatus::Running);
    turn_came.zip(booted_at).is_some_and(|(started, booted)| started < booted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RunRecord;

    fn run(status: RunStatus, started_at: Option<u64>) -> Arc<Live> {
        let record = RunRecord {
            file_id: "f".into(),
            run_id: "r".into(),
            principal: "p".into(),
            session_key: "s".into(),
            agent_id: "main".into(),
            runner: "shell".into(),
            status,
            title: String::new(),
            spec: String::new(),
            accepted_at: 1,
            started_at,
            outcome: None,
            head: 0,
            queue: None,
            merged_into: None,
        };
        Live::new(record, "/nonexistent".into())
    }

    #[test]
    fn m84_a_run_whose_turn_came_before_a_power_cut_is_not_run_again() {
        assert!(lost_with_the_machine(&run(RunStatus::Running, Some(10)), Some(11)));
        assert!(!lost_with_the_machine(&run(RunStatus::Running, Some(10)), Some(9)), "no restart of the machine since");
        assert!(!lost_with_the_machine(&run(RunStatus::Queued, None), Some(11)), "its turn never came");
        assert!(!lost_with_the_machine(&run(RunStatus::Running, Some(10)), None));
    }

    #[test]
    fn the_start_of_the_machine_is_in_the_past() {
        assert!(proc::booted_at_ms().is_some_and(|at| at > 0 && at < now_ms()));
    }
}
