//! Which runs a connection is being told about, and how far it is with each.
//!
//! Runs that start while the connection is open are followed from their first event. A run that was already at work when the connection opened is followed from its newest event on, but only after a moment's hold, in which the client can say by `runs.subscribe` what it has already seen: then it gets the rest in order. Nothing is delivered twice on one connection, also when a run has ended faster than its subscription came; only after `runs.unsubscribe` a subscription begins anew.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use crate::runs::log::{Cursor, RunLog};

/// How many runs that are through are remembered, so that a late announcement does not start them again.
const REMEMBERED: usize = 256;
/// How long a new connection is given to subscribe to a run that was already at work.
const HOLD: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Tail {
    log: Arc<RunLog>,
    cursor: Cursor,
    /// Lowest seq that this connection was or will be given without a gap.
    from: u64,
    /// After a late subscription: seqs below `.0` are being caught up, then delivery jumps to `.1`.
    jump: Option<(u64, u64)>,
    held: Option<Instant>,
    /// The journal cannot be read.
    broken: bool,
}

impl Tail {
    /// Whether anything is still to be delivered, now or later.
    fn goes_on(&self) -> bool {
        !self.broken && (self.jump.is_some() || !self.log.is_exhausted(self.cursor.next))
    }
}

/// A run of which everything was delivered, or nothing more is wanted.
#[derive(Debug)]
struct Through {
    /// Hash of its file id.
    run: u64,
    /// Lowest seq from which on it was delivered; none = it was given up, and what was delivered does not count.
    from: Option<u64>,
}

impl Tail {
    /// Of a run whose lines from `from` on were all delivered, deliver the ones from `want` on that were not.
    fn deliver_up_to(&mut self, want: u64, from: u64) {
        let end = self.log.head() + 1;
        if want < from {
            self.jump = Some((from, end));
        } else {
            self.cursor.seek(end);
            self.from = from;
        }
    }
}

/// The followed runs of one connection.
#[derive(Debug, Default)]
pub struct Tails {
    tails: VecDeque<Tail>,
    through: VecDeque<Through>,
}

impl Tails {
    /// Follows a run that has just started, from its first event; does nothing if it is followed already.
    pub fn start(&mut self, log: Arc<RunLog>) {
        if self.position(&log.file_id).is_none() && self.through_position(&log.file_id).is_none() {
            self.push(log, 0, None);
        }
    }

    /// Follows runs that were at work before the connection opened, from their next event on, after the hold.
    pub fn hold(&mut self, logs: Vec<Arc<RunLog>>) {
        let until = Instant::now() + HOLD;
        for log in logs {
            let head = log.head();
            if self.position(&log.file_id).is_none() {
                // A run that has said nothing yet has nothing to be held back.
                self.push(log, head, (head > 0).then_some(until));
            }
        }
    }

    /// Delivers every event above `after`, except what this connection has had.
    pub fn follow(&mut self, log: Arc<RunLog>, after: u64) {
        let want = after + 1;
        let Some(tail) = self.position(&log.file_id).and_then(|at| self.tails.get_mut(at)) else {
            let delivered = self.through_position(&log.file_id).and_then(|at| self.through.remove(at)).and_then(|through| through.from);
            self.push(log, after, None);
            if let (Some(from), Some(tail)) = (delivered, self.tails.back_mut()) {
                tail.deliver_up_to(want, from);
            }
            return;
        };
        let fresh = tail.held.take().is_some();
        let next = tail.jump.map_or(tail.cursor.next, |(_, next)| next);
        if fresh || want > next {
            // Nothing was delivered yet, or the client has more than this connection gave it.
            tail.cursor.seek(want);
            tail.from = want;
            tail.jump = None;
        } else if want < tail.from {
            tail.jump = Some((tail.from, next));
            tail.cursor.seek(want);
            tail.from = want;
        }
    }

    /// Delivers no more events of this run.
    pub fn unfollow(&mut self, file_id: &str) {
        self.tails.retain(|tail| tail.log.file_id != file_id);
        if let Some(at) = self.through_position(file_id) {
            self.through.remove(at);
        }
        self.remember(Through { run: fingerprint(file_id), from: None });
    }

    /// When the hold of the next held run ends.
    #[must_use]
    pub fn held_until(&self) -> Option<Instant> {
        self.tails.iter().filter_map(|tail| tail.held).min()
    }

    /// Ends the holds whose time has come.
    pub fn release(&mut self) {
        let now = Instant::now();
        for tail in &mut self.tails {
            if tail.held.is_some_and(|until| until <= now) {
                tail.held = None;
            }
        }
    }

    /// How many runs are followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tails.len()
    }

    /// Whether no run is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }

    /// The next lines of the tail at `index`, about `max_bytes` of them. A run whose journal cannot be read is followed no more; the connection lives on.
    pub async fn read(&mut self, index: usize, max_bytes: usize) -> Vec<Bytes> {
        let Some(tail) = self.tails.get_mut(index).filter(|tail| tail.held.is_none()) else { return Vec::new() };
        let mut lines = match tail.cursor.read(&tail.log, max_bytes).await {
            Ok(lines) => lines,
            Err(cause) => {
                warn!(run_id = %tail.log.run_id, %cause, "the journal of a followed run cannot be read");
                tail.broken = true;
                return Vec::new();
            }
        };
        if let Some((end, next)) = tail.jump
            && tail.cursor.next >= end
        {
            lines.retain(|(seq, _)| *seq < end);
            tail.cursor.seek(next);
            tail.jump = None;
        }
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Drops the runs of which everything was delivered and lets another run be first in the next round.
    pub fn rotate(&mut self) {
        let mut through = Vec::new();
        self.tails.retain(|tail| {
            let more = tail.goes_on();
            if !more {
                through.push(Through { run: fingerprint(&tail.log.file_id), from: (!tail.broken).then_some(tail.from) });
            }
            more
        });
        through.into_iter().for_each(|run| self.remember(run));
        if self.tails.len() > 1 {
            self.tails.rotate_left(1);
        }
    }

    /// Whether any run has lines that could be delivered now.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.tails.iter().any(|tail| tail.held.is_none() && !tail.broken && (tail.jump.is_some() || tail.cursor.next <= tail.log.head()))
    }

    /// Whether events of this run are still to be delivered.
    #[must_use]
    pub fn is_behind(&self, log: &RunLog) -> bool {
        self.position(&log.file_id).and_then(|at| self.tails.get(at)).is_some_and(|tail| tail.held.is_none() && tail.goes_on())
    }

    /// Whether events of this run will still be delivered, now or after the hold.
    #[must_use]
    pub fn is_pending(&self, log: &RunLog) -> bool {
        self.position(&log.file_id).and_then(|at| self.tails.get(at)).is_some_and(Tail::goes_on)
    }

    fn push(&mut self, log: Arc<RunLog>, after: u64, held: Option<Instant>) {
        let cursor = log.cursor(after);
        self.tails.push_back(Tail { log, cursor, from: after + 1, jump: None, held, broken: false });
    }

    fn remember(&mut self, through: Through) {
        self.through.push_back(through);
        if self.through.len() > REMEMBERED {
            self.through.pop_front();
        }
    }

    fn through_position(&self, file_id: &str) -> Option<usize> {
        let run = fingerprint(file_id);
        self.through.iter().position(|through| through.run == run)
    }

    fn position(&self, file_id: &str) -> Option<usize> {
        self.tails.iter().position(|tail| tail.log.file_id == file_id)
    }
}

/// A short name of a run for what is remembered.
pub(super) fn fingerprint(file_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    file_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with `n` lines, the last of them terminal.
    fn log(n: u64) -> Arc<RunLog> {
        let log = RunLog::live("f", "r".into(), "s".into(), "/nonexistent".into());
        (1..=n).for_each(|seq| log.append(seq, Bytes::from(seq.to_string()), seq == n));
        Arc::new(log)
    }

    async fn delivered(tails: &mut Tails) -> Vec<u64> {
        let mut seqs = Vec::new();
        while tails.has_unread() {
            let lines = tails.read(0, 1 << 20).await;
            seqs.extend(lines.iter().map(|line| std::str::from_utf8(line).unwrap().parse::<u64>().unwrap()));
            tails.rotate();
        }
        seqs
    }

    #[tokio::test]
    async fn a_run_that_was_delivered_whole_is_not_delivered_again_until_it_was_given_up() {
        let (log, mut tails) = (log(5), Tails::default());
        tails.start(Arc::clone(&log));
        assert_eq!(delivered(&mut tails).await, [1, 2, 3, 4, 5]);
        for after in [0, 2, 5] {
            tails.follow(Arc::clone(&log), after);
            assert_eq!(delivered(&mut tails).await, [0; 0]);
            tails.rotate();
            assert!(tails.is_empty() && !tails.is_behind(&log));
        }
        tails.start(Arc::clone(&log));
        assert!(tails.is_empty(), "a late announcement starts nothing");
        tails.unfollow("f");
        tails.follow(log, 3);
        assert_eq!(delivered(&mut tails).await, [4, 5]);
    }

    #[tokio::test]
    async fn of_a_run_that_was_delivered_from_a_place_on_a_subscription_brings_what_is_before() {
        let (log, mut tails) = (log(5), Tails::default());
        tails.follow(Arc::clone(&log), 3);
        assert_eq!(delivered(&mut tails).await, [4, 5]);
        tails.follow(Arc::clone(&log), 1);
        assert_eq!(delivered(&mut tails).await, [2, 3]);
        tails.follow(log, 0);
        assert_eq!(delivered(&mut tails).await, [1]);
        assert!(tails.is_empty());
    }

    #[tokio::test]
    async fn a_late_subscription_goes_back_and_then_on_without_a_repeat() {
        let log = Arc::new(RunLog::live("f", "r".into(), "s".into(), "/nonexistent".into()));
        (1..=3).for_each(|seq| log.append(seq, Bytes::from(seq.to_string()), false));
        let mut tails = Tails::default();
        tails.hold(vec![Arc::clone(&log)]);
        assert!(!tails.has_unread());
        tails.follow(Arc::clone(&log), 3);
        log.append(4, Bytes::from_static(b"4"), false);
        assert_eq!(delivered(&mut tails).await, [4]);
        tails.follow(Arc::clone(&log), 1);
        log.append(5, Bytes::from_static(b"5"), true);
        assert_eq!(delivered(&mut tails).await, [2, 3, 5]);
    }
}
