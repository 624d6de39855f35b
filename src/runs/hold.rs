//! Runs that a daemon in safe mode found queued and does not start by itself, because one of them may be what ended its predecessors.
//!
//! They keep their order: a later run of a session with a held one waits behind it. They can be looked at and aborted like any queued run.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::live::Live;
use super::supervisor::Supervisor;
use crate::protocol::run::RunStatus;

/// The held runs, in order of arrival.
#[derive(Debug, Default)]
pub struct Held {
    runs: Vec<Arc<Live>>,
}

impl Held {
    /// Holds this run too if one of its session is held. One whose end was asked for is not: who asked finds it in the schedule.
    pub(super) fn joins(&mut self, live: &Arc<Live>) -> bool {
        let behind = self.runs.iter().any(|held| held.record.session_key == live.record.session_key);
        let joins = behind && live.abort_asked().borrow().is_none();
        if joins {
            self.push(live);
        }
        joins
    }

    /// Takes a run out. Returns whether it was held.
    pub(super) fn remove(&mut self, file_id: &str) -> bool {
        let before = self.runs.len();
        self.runs.retain(|held| held.record.file_id != file_id);
        self.runs.len() < before
    }

    /// How many runs are held.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    fn push(&mut self, live: &Arc<Live>) {
        live.set_status(RunStatus::Queued, None);
        self.runs.push(Arc::clone(live));
    }
}

impl Supervisor {
    pub(super) fn hold(&self, live: &Arc<Live>) {
        self.held().push(live);
    }

    /// Lets the held runs take their turns, in order. Returns how many there were.
    pub fn release_held(&self) -> usize {
        // The lock is kept, so that no new run of a session comes before its held ones.
        let mut held = self.held();
        let runs = std::mem::take(&mut held.runs);
        runs.iter().for_each(|live| self.line_up(live, None));
        runs.len()
    }

    /// How many queued runs are not started because of safe mode.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held().len()
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::RunRecord;

    fn run(name: &str, session: &str) -> Arc<Live> {
        let record = RunRecord {
            file_id: name.into(),
            run_id: name.into(),
            principal: "p".into(),
            session_key: session.into(),
            agent_id: "main".into(),
            runner: "shell".into(),
            status: RunStatus::Accepted,
            title: String::new(),
            spec: String::new(),
            accepted_at: 1,
            started_at: None,
            outcome: None,
            head: 0,
            queue: None,
            merged_into: None,
        };
        Live::new(record, "/nonexistent".into())
    }

    #[test]
    fn a_later_run_is_held_only_behind_one_of_its_session_and_not_when_its_end_was_asked_for() {
        let mut held = Held::default();
        assert!(!held.joins(&run("a0", "a")), "nothing is held");
        held.push(&run("a1", "a"));
        assert!(held.joins(&run("a2", "a")));
        assert!(!held.joins(&run("b1", "b")));
        let unwanted = run("a3", "a");
        unwanted.ask_abort("rpc");
        assert!(!held.joins(&unwanted));
        assert_eq!((held.remove("a1"), held.remove("a1"), held.len()), (true, false, 1));
    }
}
