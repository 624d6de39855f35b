//! Which run may start: one per session at a time and in order, and at most `max` in all. Pure: no clock, no I/O, no tasks.
//!
//! ```text
//! submit ──> waiting (one line per session, global order of arrival) ──> running ──> ended
//!                └────────────── remove (abort) ────────────────────────────┘
//! ```

use std::collections::{HashSet, VecDeque};

/// A run waiting for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    run: String,
    session: String,
}

/// The waiting and running runs. Runs are named by their file id, which is unique.
#[derive(Debug)]
pub struct Schedule {
    max: usize,
    waiting: VecDeque<Waiting>,
    running: Vec<Waiting>,
}

impl Schedule {
    /// An empty schedule of at most `max` runs at once; 0 counts as 1.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), waiting: VecDeque::new(), running: Vec::new() }
    }

    /// Another bound from now on; 0 counts as 1. Runs at work stay at work.
    pub fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    /// Puts a run at the end of its session's line.
    pub fn submit(&mut self, run: &str, session: &str) {
        self.waiting.push_back(Waiting { run: run.to_owned(), session: session.to_owned() });
    }

    /// A run that is already at work, found after a restart; it takes its place even beyond `max`.
    pub fn adopt(&mut self, run: &str, session: &str) {
        self.running.push(Waiting { run: run.to_owned(), session: session.to_owned() });
    }

    /// A run that was taken for one at work, but never began: it waits again, and before all others.
    pub fn put_back(&mut self, run: &str, session: &str) {
        self.remove(run);
        self.waiting.push_front(Waiting { run: run.to_owned(), session: session.to_owned() });
    }

    /// Takes a run out, wherever it is. Returns whether it was there.
    pub fn remove(&mut self, run: &str) -> bool {
        let before = self.waiting.len() + self.running.len();
        self.waiting.retain(|waiting| waiting.run != run);
        self.running.retain(|running| running.run != run);
        before != self.waiting.len() + self.running.len()
    }

    /// Moves every run that may start now from waiting to running and names them, in order.
    pub fn start(&mut self) -> Vec<String> {
        let mut started = Vec::new();
        let mut busy: HashSet<String> = self.running.iter().map(|running| running.session.clone()).collect();
        let mut still_waiting = VecDeque::with_capacity(self.waiting.len());
        for next in self.waiting.drain(..) {
            // A session's later runs stay behind its first one, also when that one only waits for a place.
            if self.running.len() < self.max && busy.insert(next.session.clone()) {
                started.push(next.run.clone());
                self.running.push(next);
            } else {
                busy.insert(next.session.clone());
                still_waiting.push_back(next);
            }
        }
        self.waiting = still_waiting;
        started
    }

    /// The place of a waiting run in the order of arrival, 1 = next.
    #[must_use]
    pub fn position(&self, run: &str) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.run == run).map(|index| index + 1)
    }

    /// How many runs are at work and how many wait.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// The most that may be at work at once.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_run_per_session_in_order() {
        let mut schedule = Schedule::new(4);
        schedule.submit("a1", "a");
        schedule.submit("a2", "a");
        schedule.submit("b1", "b");
        assert_eq!(schedule.start(), ["a1", "b1"]);
        assert_eq!(schedule.position("a2"), Some(1));
        assert!(schedule.remove("a1"));
        assert_eq!(schedule.start(), ["a2"]);
        assert!(!schedule.remove("a1"));
    }

    #[test]
    fn never_more_than_max_and_adopted_ones_count() {
        let mut schedule = Schedule::new(2);
        schedule.adopt("old", "x");
        for n in 0..5 {
            schedule.submit(&format!("r{n}"), &format!("s{n}"));
        }
        assert_eq!(schedule.start(), ["r0"]);
        assert!(schedule.start().is_empty());
        schedule.remove("old");
        assert_eq!(schedule.start(), ["r1"]);
    }

    proptest! {
        /// Against a model: nothing is lost, sessions run one at a time in order of arrival, the bound holds, and nothing that could start waits.
        #[test]
        fn any_history_keeps_order_and_bounds(plan in prop::collection::vec((0usize..4, any::<bool>(), any::<u8>()), 1..120), max in 1usize..5) {
            let mut schedule = Schedule::new(max);
            let mut arrived: Vec<(String, String)> = Vec::new();
            let mut running: Vec<String> = Vec::new();
            let mut done: HashSet<String> = HashSet::new();
            for (n, (session, end, pick)) in plan.into_iter().enumerate() {
                if end && !running.is_empty() {
                    let run = running.remove(pick as usize % running.len());
                    prop_assert!(schedule.remove(&run));
                    done.insert(run);
                } else {
                    let (run, session) = (format!("r{n}"), format!("s{session}"));
                    schedule.submit(&run, &session);
                    arrived.push((run, session));
                }
                for run in schedule.start() {
                    let session = arrived.iter().find(|(r, _)| *r == run).unwrap().1.clone();
                    let earlier_unfinished = arrived.iter().take_while(|(r, _)| *r != run).any(|(r, s)| *s == session && !done.contains(r));
                    prop_assert!(!earlier_unfinished, "{run} overtook its session");
                    running.push(run);
                }
                prop_assert!(running.len() <= max);
                prop_assert_eq!(schedule.counts(), (running.len(), arrived.len() - running.len() - done.len()));
                let startable = arrived.iter().any(|(r, s)| {
                    !done.contains(r) && !running.contains(r)
                        && !arrived.iter().any(|(o, os)| os == s && running.contains(o))
                });
                prop_assert!(!(startable && running.len() < max), "a run waits although it could start");
            }
        }
    }

    #[test]
    fn a_run_that_is_put_back_starts_before_later_ones_of_its_session() {
        let mut schedule = Schedule::new(2);
        schedule.adopt("a", "s");
        schedule.submit("b", "s");
        assert!(schedule.start().is_empty());
        schedule.put_back("a", "s");
        assert_eq!(schedule.start(), ["a"]);
        assert_eq!((schedule.position("b"), schedule.counts()), (Some(1), (1, 1)));
    }
}
