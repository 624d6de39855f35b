//! The line of one session.

use std::collections::{BTreeSet, VecDeque};

use super::rules::{Mode, Overflow, Rules};
use super::{Item, MAX_MERGED_BYTES, Turn};

/// A run in the line.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Place in the order of arrival over all sessions.
    pub order: i64,
    /// When it came.
    pub at: u64,
    /// It came into a free session, so there is nothing to wait for but a permit.
    pub fresh: bool,
    /// The run at work is being told it; until that is decided it does not start.
    pub asked: bool,
    /// The run.
    pub item: Item,
}

impl Waiting {
    /// Whether it is a message that rules may touch.
    fn is_message(&self) -> bool {
        self.item.rules.is_some() && !self.item.sealed
    }

    fn collects(&self) -> Option<&Rules> {
        self.item.rules.as_ref().filter(|rules| rules.mode == Mode::Collect && !self.item.sealed)
    }
}

/// A run at work.
#[derive(Clone, Debug)]
pub(super) struct AtWork {
    /// The run.
    pub run: String,
    /// Whether it can be told something.
    pub takes_input: bool,
    /// The memory that it takes, MB.
    pub weight: u64,
}

/// One session: what is at work, and what waits.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// At work. More than one only if an earlier daemon left it so.
    pub running: Vec<AtWork>,
    /// Waiting, in order.
    pub line: VecDeque<Waiting>,
    /// Messages of which the next turn is told the first line only.
    pub summarized: VecDeque<Waiting>,
    /// Places of runs that are being accepted.
    pub reserved: BTreeSet<i64>,
}

impl Lane {
    pub fn is_empty(&self) -> bool {
        self.running.is_empty() && self.line.is_empty() && self.summarized.is_empty() && self.reserved.is_empty()
    }

    /// Whether a run that comes now has nothing of its session before it.
    pub fn is_free(&self) -> bool {
        self.running.is_empty() && self.line.is_empty()
    }

    /// Whether what is next is a nested run.
    pub fn is_nested(&self) -> bool {
        self.line.front().is_some_and(|front| front.item.nested)
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.line.len() + self.summarized.len() + self.reserved.len()
    }

    /// How many messages wait that rules may touch.
    pub fn messages(&self) -> usize {
        self.line.iter().filter(|waiting| waiting.is_message()).count()
    }

    /// Whether one more message would be one too many.
    pub fn is_full(&self, cap: usize) -> bool {
        let next_to_start = usize::from(self.is_free());
        self.messages() + self.reserved.len() + 1 > cap.max(1) + next_to_start
    }

    /// Puts a run in at its place. Who came to a free session is who was let in first, and not who is through with the disk first.
    pub fn insert(&mut self, mut waiting: Waiting) {
        let at = self.line.iter().rposition(|other| other.order < waiting.order).map_or(0, |at| at + 1);
        waiting.fresh = at == 0 && self.running.is_empty() && self.line.front().is_none_or(|front| front.fresh);
        if let Some(front) = self.line.front_mut().filter(|_| waiting.fresh) {
            front.fresh = false;
        }
        self.line.insert(at, waiting);
    }

    /// Takes out everything that waits before this place.
    pub fn take_before(&mut self, place: i64) -> Vec<String> {
        let (out, kept): (Vec<_>, Vec<_>) = self.summarized.drain(..).chain(self.line.drain(..)).partition(|waiting| waiting.order < place);
        self.line.extend(kept);
        out.into_iter().map(|waiting| waiting.item.run).collect()
    }

    pub fn find(&mut self, run: &str) -> Option<&mut Waiting> {
        self.line.iter_mut().find(|waiting| waiting.item.run == run)
    }

    /// When the next turn may begin, as far as this session is concerned; none = it is busy, or nothing waits.
    pub fn due(&self) -> Option<u64> {
        let front = self.line.front().filter(|front| self.running.is_empty() && !front.asked)?;
        let (group, full) = self.group();
        let newest = self.line.get(group - 1)?;
        if self.reserved.first().is_some_and(|place| *place < newest.order) {
            return None;
        }
        let Some(rules) = front.collects() else { return Some(0) };
        // Who came to a free session waits for nobody, and a full group gains nothing by waiting.
        if front.fresh || full || group >= rules.cap {
            return Some(0);
        }
        let quiet = newest.item.rules.map_or(0, |rules| rules.debounce_ms);
        Some(newest.at.saturating_add(quiet))
    }

    /// How many at the front are answered together, at least 1, and whether the next was left out for its size alone.
    ///
    /// A message that came to a free session has a turn of its own, also when it had to wait for a place: what becomes of two messages must not depend on how busy other sessions are.
    fn group(&self) -> (usize, bool) {
        let Some(front) = self.line.front().filter(|front| front.collects().is_some() && !front.fresh) else { return (1, false) };
        let alike = self.line.iter().take_while(|waiting| waiting.collects().is_some() && waiting.item.with == front.item.with);
        let (mut group, mut bytes) = (0, 0_usize);
        for waiting in alike {
            bytes = bytes.saturating_add(waiting.item.bytes);
            if group > 0 && bytes > MAX_MERGED_BYTES {
                return (group, true);
            }
            group += 1;
        }
        (group.max(1), false)
    }

    /// The memory that the next turn takes, MB: those that are answered together have the same runner.
    pub fn weight(&self) -> u64 {
        self.line.front().map_or(0, |front| front.item.weight)
    }

    /// Takes the next turn out of the line, with its weight; its newest run is at work from here on.
    pub fn take_turn(&mut self) -> Option<(Turn, u64)> {
        let group = self.group().0.min(self.line.len());
        let mut group: Vec<Waiting> = self.line.drain(..group).collect();
        let carrier = group.pop()?;
        let runs = |waiting: Waiting| waiting.item.run;
        let mut turn = Turn { merged: group.into_iter().map(runs).collect(), ..Turn::default() };
        if carrier.is_message() {
            turn.summarized = self.summarized.drain(..).map(runs).collect();
        }
        turn.run.clone_from(&carrier.item.run);
        let Item { run, takes_input, weight, .. } = carrier.item;
        self.running.push(AtWork { run, takes_input, weight });
        Some((turn, weight))
    }

    /// Makes room for the newest message as its rules say, and names the runs that are dropped.
    pub fn overflow(&mut self, rules: &Rules) -> Vec<String> {
        let cap = rules.cap.max(1);
        let mut dropped = Vec::new();
        if rules.drop == Overflow::New {
            return dropped;
        }
        while self.messages() > cap {
            let Some(at) = self.line.iter().position(Waiting::is_message) else { break };
            let Some(oldest) = self.line.remove(at) else { break };
            if rules.drop == Overflow::Summarize {
                self.summarized.push_back(oldest);
            } else {
                dropped.push(oldest.item.run);
            }
        }
        // As many summaries as messages are bearable; older ones are as good as forgotten.
        while self.summarized.len() > cap {
            dropped.extend(self.summarized.pop_front().map(|waiting| waiting.item.run));
        }
        dropped
    }
}
