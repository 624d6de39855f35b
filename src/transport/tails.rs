//! Which runs a connection is being told about, and how far it is with each.
//!
//! Runs that start while the connection is open are followed from their first event. A run that was already at work when the connection opened is followed from its newest event on, but only after a moment's hold, in which the client can say by `runs.subscribe` what it has already seen: then it gets the rest in order. Nothing is delivered twice on one connection, also when a run has ended faster than its subscription came; only after `runs.unsubscribe` a subscription begins anew.
//!
//! Events of tools are for the connection that started the run and understands them; others are not told ([`ToolDetail`]). A subscription asks for the journal and gets it whole: events of tools that were withheld behind its place come then, each once.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use crate::journal::line::{is_stream, is_tool, seq_at, without_results};
use crate::protocol::event::agent::ToolDetail;
use crate::runs::log::{Cursor, RunLog};

/// How many runs that are through are remembered, so that a late announcement does not start them again.
const REMEMBERED: usize = 256;
/// How many runs that this connection started may wait to be announced; of older ones it is told without their tools.
const STARTED: usize = 1024;
/// How long a new connection is given to subscribe to a run that was already at work.
const HOLD: Duration = Duration::from_millis(500);

/// What a late subscription still lacks, and where delivery goes on behind it.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// Below this, everything.
    whole: u64,
    /// From there to below this, events of tools, which had been withheld.
    until: u64,
    /// Where delivery goes on.
    next: u64,
}

#[derive(Debug)]
struct Tail {
    log: Arc<RunLog>,
    cursor: Cursor,
    /// Lowest seq that this connection was or will be given without a gap.
    from: u64,
    /// Where a late subscription is catching up.
    jump: Option<Jump>,
    /// The place of a subscription that came meanwhile.
    later: Option<u64>,
    held: Option<Instant>,
    /// How much is told of tools.
    tools: ToolDetail,
    /// The last event of a tool that was not told.
    withheld: Option<u64>,
    /// Where `seq` stands in each line.
    seq_at: usize,
    /// The journal cannot be read.
    broken: bool,
}

impl Tail {
    /// A line as this connection may see it.
    fn told(&mut self, seq: u64, line: Bytes) -> Option<Bytes> {
        if self.tools == ToolDetail::Full || !self.is_of_tools(&line) {
            return Some(line);
        }
        if self.tools == ToolDetail::Brief && is_tool(&line, self.seq_at) {
            return Some(without_results(&line).map_or(line, Bytes::from));
        }
        self.withheld = Some(seq);
        None
    }

    /// Whether a line tells of tools: where a model speaks also what their commands print, and what only transcripts and curious people need, its thoughts and its messages as a whole.
    fn is_of_tools(&self, line: &[u8]) -> bool {
        let hidden = || ["exec", "message", "thinking"].iter().any(|stream| is_stream(line, stream));
        is_tool(line, self.seq_at) || (self.log.of_model && hidden())
    }

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
    /// The last event of a tool that was not told.
    withheld: Option<u64>,
}

impl Tail {
    /// Delivers what lies at or above `want` and was not delivered, then goes on.
    fn go_back(&mut self, want: u64) {
        let next = self.cursor.next;
        let lacking = self.withheld.take().filter(|last| *last >= want);
        if want > next {
            // The client has more than this connection gave it.
            self.cursor.seek(want);
            self.from = want;
        } else if want < self.from || lacking.is_some() {
            let whole = self.from.max(want);
            let until = lacking.map_or(whole, |last| whole.max(last + 1));
            self.jump = Some(Jump { whole, until, next });
            self.from = self.from.min(want);
            self.cursor.seek(want);
        }
    }

    /// Of lines that were read while catching up, those that were lacking.
    fn caught_up(&mut self, jump: Jump, lines: &mut Vec<(u64, Bytes)>) {
        lines.retain(|(seq, line)| *seq < jump.whole || (*seq < jump.until && self.is_of_tools(line)));
        if self.cursor.next >= jump.until {
            self.cursor.seek(jump.next);
            self.jump = None;
            if let Some(want) = self.later.take() {
                self.go_back(want);
            }
        }
    }
}

/// The followed runs of one connection.
#[derive(Debug, Default)]
pub struct Tails {
    tails: VecDeque<Tail>,
    through: VecDeque<Through>,
    /// Runs that this connection has started and that were not announced yet, by the hash of their file id.
    started: VecDeque<(u64, ToolDetail)>,
}

impl Tails {
    /// Follows a run that has just started, from its first event; does nothing if it is followed already.
    pub fn start(&mut self, log: Arc<RunLog>) {
        if self.position(&log.file_id).is_none() && self.through_position(&log.file_id).is_none() {
            self.push(log, 0, None);
        }
    }

    /// Follows runs that were at work before the connection opened, from the event behind this one on, after the hold; those that are followed already as they are.
    pub fn hold(&mut self, runs: Vec<(u64, Arc<RunLog>)>) {
        let until = Instant::now() + HOLD;
        for (head, log) in runs {
            if self.position(&log.file_id).is_none() && self.through_position(&log.file_id).is_none() {
                // A run that has said nothing yet has nothing to be held back.
                self.push(log, head, (head > 0).then_some(until));
            }
        }
    }

    /// This connection has started the run: it is told so much of its tools, from here on.
    pub fn started(&mut self, log: &RunLog, detail: ToolDetail) {
        if let Some(tail) = self.position(&log.file_id).and_then(|at| self.tails.get_mut(at)) {
            tail.tools = tail.tools.max(detail);
            return;
        }
        self.started.push_back((fingerprint(&log.file_id), detail));
        if self.started.len() > STARTED {
            self.started.pop_front();
        }
    }

    /// Delivers every event above `after`, except what this connection has had.
    pub fn follow(&mut self, log: Arc<RunLog>, after: u64) {
        let want = after + 1;
        let Some(tail) = self.position(&log.file_id).and_then(|at| self.tails.get_mut(at)) else {
            let through = self.through_position(&log.file_id).and_then(|at| self.through.remove(at));
            let end = log.head() + 1;
            self.push(log, after, None);
            if let Some(tail) = self.tails.back_mut() {
                tail.tools = ToolDetail::Full;
                if let Some(Through { from: Some(from), withheld, .. }) = through {
                    (tail.from, tail.withheld) = (from, withheld);
                    tail.cursor.seek(end);
                    tail.go_back(want);
                }
            }
            return;
        };
        tail.tools = ToolDetail::Full;
        if tail.held.take().is_some() {
            // Nothing was delivered yet.
            tail.cursor.seek(want);
            tail.from = want;
        } else if tail.jump.is_some() {
            tail.later = Some(tail.later.map_or(want, |later| later.min(want)));
        } else {
            tail.go_back(want);
        }
    }

    /// Delivers no more events of this run.
    pub fn unfollow(&mut self, file_id: &str) {
        self.tails.retain(|tail| tail.log.file_id != file_id);
        if let Some(at) = self.through_position(file_id) {
            self.through.remove(at);
        }
        self.remember(Through { run: fingerprint(file_id), from: None, withheld: None });
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
        if let Some(jump) = tail.jump {
            tail.caught_up(jump, &mut lines);
        }
        lines.into_iter().filter_map(|(seq, line)| tail.told(seq, line)).collect()
    }

    /// Drops the runs of which everything was delivered and lets another run be first in the next round.
    pub fn rotate(&mut self) {
        let mut through = Vec::new();
        self.tails.retain(|tail| {
            let more = tail.goes_on();
            if !more {
                let from = (!tail.broken).then_some(tail.from);
                through.push(Through { run: fingerprint(&tail.log.file_id), from, withheld: tail.withheld });
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
        let run = fingerprint(&log.file_id);
        let own = self.started.iter().position(|(started, _)| *started == run).and_then(|at| self.started.remove(at));
        let tools = own.map_or(ToolDetail::None, |(_, detail)| detail);
        let seq_at = seq_at(&log.run_id);
        self.tails.push_back(Tail {
            log,
            cursor,
            from: after + 1,
            jump: None,
            later: None,
            held,
            tools,
            withheld: None,
            seq_at,
            broken: false,
        });
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
mod tests;
