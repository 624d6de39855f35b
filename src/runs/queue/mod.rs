//! Who is next: the queue policy of all sessions. Pure: events in, decisions out; no clock, no I/O, no tasks.
//!
//! ```text
//! Submit ──> line of its session ──(turn free, quiet time over)──> Start ──> running ──Ended──> gone
//!                 ├── collected with its neighbours: the newest one runs, the others end with it
//!                 └── Drop: asked for, interrupted, or more than may wait
//! ```
//! One run per session at a time and in order of arrival, at most `max` in all; nested runs, which other runs have started or wait for, have places of their own, because a run that waits for another one keeps its own place. Runs are named by their file id, which is unique.

mod lane;
#[cfg(test)]
mod model;
mod room;
pub mod rules;
#[cfg(test)]
mod tests;
mod word;

use std::collections::{HashMap, HashSet};

use self::lane::{AtWork, Lane, Waiting};
use self::room::Heavy;
pub use self::room::Room;
use self::rules::{Mode, Overflow, Rules};
pub use self::word::{Decision, Event, Full, Item, Turn, Why};

/// Most runs that wait in one session, whatever their rules.
pub const MAX_LINE: usize = 1000;
/// Most runs that wait in all.
pub const MAX_WAITING: usize = 10_000;

/// Most bytes of requests that one turn answers together; a larger one has a turn of its own.
pub const MAX_MERGED_BYTES: usize = 256 << 10;

/// The waiting and running runs of all sessions.
#[derive(Debug)]
pub struct Queue {
    max: usize,
    lanes: HashMap<String, Lane>,
    /// Session of every run that is in a lane.
    places: HashMap<String, String>,
    running: usize,
    /// The nested runs at work; they count among the running too.
    nested: HashSet<String>,
    max_nested: usize,
    /// The heavy ones among those.
    heavy: Heavy,
    last: i64,
    first: i64,
}

impl Queue {
    /// An empty queue of at most `max` runs at once and `max_nested` nested ones; 0 counts as 1.
    #[must_use]
    pub fn new(max: usize, max_nested: usize) -> Self {
        Self {
            max: max.max(1),
            lanes: HashMap::new(),
            places: HashMap::new(),
            running: 0,
            nested: HashSet::new(),
            max_nested: max_nested.max(1),
            heavy: Heavy::default(),
            last: 0,
            first: 0,
        }
    }

    /// Whether one more run of this kind and weight may be at work.
    fn has_room(&self, nested: bool, weight: u64) -> bool {
        let place = if nested { self.nested.len() < self.max_nested } else { self.running - self.nested.len() < self.max };
        place && self.heavy.fits(weight)
    }

    /// Gives a place to a run that is about to be accepted; a `Submit` uses it, or `Left` gives it back. Until then nothing that came later starts in its session, so that the order of requests is the order of turns whatever takes longer on the way.
    ///
    /// # Errors
    /// Too many wait.
    pub fn admit(&mut self, session: &str, rules: Option<&Rules>) -> Result<i64, Full> {
        if self.places.len() >= MAX_WAITING {
            return Err(Full { cap: MAX_WAITING });
        }
        let lane = self.lanes.entry(session.to_owned()).or_default();
        if lane.len() >= MAX_LINE {
            return Err(Full { cap: MAX_LINE });
        }
        // A refusal implies that the lane holds something, so no empty one is left behind.
        if let Some(rules) = rules.filter(|rules| rules.drop == Overflow::New && rules.mode != Mode::Interrupt)
            && lane.is_full(rules.cap)
        {
            return Err(Full { cap: rules.cap.max(1) });
        }
        self.last += 1;
        lane.reserved.insert(self.last);
        Ok(self.last)
    }

    /// Takes an event in and says what is to be done, in this order. `now` is any clock in ms that never goes back.
    pub fn handle(&mut self, event: Event, now: u64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        match event {
            Event::Submit(item) => self.submit(item, now, &mut decisions),
            Event::Left { session, place } => {
                if let Some(lane) = self.lanes.get_mut(&session) {
                    lane.reserved.remove(&place);
                }
                self.tidy(&session);
            }
            Event::Adopt { run, session, takes_input, nested, weight } => {
                self.count_in(&run, nested, weight);
                self.lanes.entry(session.clone()).or_default().running.push(AtWork { run: run.clone(), takes_input, weight });
                self.places.insert(run, session);
            }
            Event::PutBack(item) => {
                self.take_out(&item.run);
                self.first -= 1;
                self.places.insert(item.run.clone(), item.session.clone());
                let waiting = Waiting { order: self.first, at: now, fresh: true, asked: false, item };
                self.lanes.entry(waiting.item.session.clone()).or_default().line.push_front(waiting);
            }
            Event::Declined(run) => {
                if let Some(waiting) = self.lane_of(&run).and_then(|lane| lane.find(&run)) {
                    waiting.asked = false;
                }
            }
            Event::Ended(run) => drop(self.take_out(&run)),
            Event::Remove(run) => {
                let waits = self.lane_of(&run).is_some_and(|lane| lane.running.iter().all(|other| other.run != run));
                if waits {
                    self.take_out(&run);
                    decisions.push(Decision::Drop(run, Why::Asked));
                }
            }
            Event::Clear(session) => self.clear(&session, i64::MAX, Why::Asked, &mut decisions),
            Event::Tick => {}
        }
        self.drop_lost_summaries(&mut decisions);
        self.start(now, &mut decisions);
        decisions
    }

    /// When something may start without another event.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        self.lanes.values().filter(|lane| self.has_room(lane.is_nested(), lane.weight())).filter_map(Lane::due).min()
    }

    /// The place of a waiting run in the order of arrival, 1 = next.
    #[must_use]
    pub fn position(&self, run: &str) -> Option<usize> {
        let lane = self.lanes.get(self.places.get(run)?)?;
        let order = lane.line.iter().find(|waiting| waiting.item.run == run)?.order;
        Some(1 + self.lanes.values().flat_map(|lane| &lane.line).filter(|waiting| waiting.order < order).count())
    }

    /// The place that a run of this session and this weight would have now; none = it would start at once.
    #[must_use]
    pub fn next_position(&self, session: &str, weight: u64) -> Option<usize> {
        let free = self.has_room(false, weight) && self.lanes.get(session).is_none_or(Lane::is_free);
        if free { None } else { Some(self.counts().1 + 1) }
    }

    /// How many runs of a session wait for a turn.
    #[must_use]
    pub fn waiting_in(&self, session: &str) -> usize {
        self.lanes.get(session).map_or(0, |lane| lane.line.len() + lane.summarized.len())
    }

    /// How many runs are at work and how many wait.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.running, self.places.len().saturating_sub(self.running))
    }

    /// Another bound from now on; 0 counts as 1. Runs at work stay at work, and a `Tick` starts whatever may start.
    pub fn set_max(&mut self, max: usize, max_nested: usize) {
        (self.max, self.max_nested) = (max.max(1), max_nested.max(1));
    }

    /// Other room for heavy runs from now on, as [`Self::set_max`].
    pub fn set_room(&mut self, room: Room) {
        self.heavy.room = room;
    }

    fn count_in(&mut self, run: &str, nested: bool, weight: u64) {
        self.running += 1;
        if nested {
            self.nested.insert(run.to_owned());
        }
        self.heavy.add(weight);
    }

    /// Takes a message out of its line that has been told to the run at work. Returns whether it still stood there.
    pub fn withdraw(&mut self, run: &str) -> bool {
        let waits = self.lane_of(run).is_some_and(|lane| lane.find(run).is_some());
        waits && self.take_out(run).is_some()
    }

    /// The most that may be at work at once.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    fn submit(&mut self, item: Item, now: u64, decisions: &mut Vec<Decision>) {
        let session = item.session.clone();
        let mode = item.rules.map(|rules| rules.mode);
        let order = item.place.unwrap_or(self.last + 1);
        self.last = self.last.max(order);
        if let Some(lane) = self.lanes.get_mut(&session) {
            lane.reserved.remove(&order);
        }
        if mode == Some(Mode::Interrupt) {
            self.clear(&session, order, Why::Interrupted, decisions);
        }
        self.places.insert(item.run.clone(), session.clone());
        let lane = self.lanes.entry(session).or_default();
        let steers = matches!(mode, Some(Mode::Steer | Mode::SteerBacklog));
        let into = lane.running.iter().find(|other| other.takes_input && steers).map(|other| other.run.clone());
        let (asked, rules) = (into.is_some(), item.rules);
        if let Some(into) = into {
            decisions.push(Decision::Steer { run: item.run.clone(), into });
        }
        lane.insert(Waiting { order, at: now, fresh: false, asked, item });
        let dropped = rules.map(|rules| lane.overflow(&rules)).unwrap_or_default();
        for run in dropped {
            self.places.remove(&run);
            decisions.push(Decision::Drop(run, Why::Overflow));
        }
    }

    /// Empties a session's line before this place, and asks for the end of what is at work.
    fn clear(&mut self, session: &str, before: i64, why: Why, decisions: &mut Vec<Decision>) {
        let Some(lane) = self.lanes.get_mut(session) else { return };
        let waiting = lane.take_before(before);
        decisions.extend(lane.running.iter().map(|other| Decision::Abort(other.run.clone())));
        for run in waiting {
            self.places.remove(&run);
            decisions.push(Decision::Drop(run, why));
        }
        self.tidy(session);
    }

    /// Lets every turn begin that may, the one that came first before the others.
    fn start(&mut self, now: u64, decisions: &mut Vec<Decision>) {
        loop {
            let free = self.lanes.iter().filter(|(_, lane)| self.has_room(lane.is_nested(), lane.weight()));
            let due = free.filter(|(_, lane)| lane.due().is_some_and(|due| due <= now));
            let next = due.min_by_key(|(_, lane)| lane.line.front().map(|waiting| waiting.order)).map(|(session, _)| session.clone());
            let Some(lane) = next.and_then(|session| self.lanes.get_mut(&session)) else { return };
            let nested = lane.is_nested();
            let Some((turn, weight)) = lane.take_turn() else { return };
            self.count_in(&turn.run, nested, weight);
            for run in turn.merged.iter().chain(&turn.summarized) {
                self.places.remove(run);
            }
            decisions.push(Decision::Start(turn));
        }
    }

    /// Messages of which only the first line was kept, and no turn is left that could be told.
    fn drop_lost_summaries(&mut self, decisions: &mut Vec<Decision>) {
        let mut lost = Vec::new();
        for lane in self.lanes.values_mut().filter(|lane| !lane.summarized.is_empty() && lane.messages() == 0) {
            lost.extend(lane.summarized.drain(..).map(|waiting| waiting.item.run));
        }
        for run in lost {
            if let Some(session) = self.places.remove(&run) {
                self.tidy(&session);
            }
            decisions.push(Decision::Drop(run, Why::Overflow));
        }
    }

    /// Takes a run out, wherever it is.
    fn take_out(&mut self, run: &str) -> Option<()> {
        let session = self.places.remove(run)?;
        let lane = self.lanes.get_mut(&session)?;
        if let Some(at) = lane.running.iter().position(|other| other.run == run) {
            let weight = lane.running.remove(at).weight;
            self.running -= 1;
            self.heavy.remove(weight);
        }
        self.nested.remove(run);
        lane.line.retain(|waiting| waiting.item.run != run);
        lane.summarized.retain(|waiting| waiting.item.run != run);
        self.tidy(&session);
        Some(())
    }

    fn lane_of(&mut self, run: &str) -> Option<&mut Lane> {
        self.lanes.get_mut(self.places.get(run)?)
    }

    fn tidy(&mut self, session: &str) {
        if self.lanes.get(session).is_some_and(Lane::is_empty) {
            self.lanes.remove(session);
        }
    }
}
