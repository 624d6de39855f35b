//! The queue against a model over random histories.

use proptest::prelude::*;

use super::rules::{Mode, Overflow, Rules};
use super::tests::item;
use super::{Decision, Event, Item, MAX_MERGED_BYTES, Queue, Why};

/// What the model knows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Running,
    /// Ends with the run at this index.
    With(usize),
    Over,
}

#[derive(Clone, Debug)]
struct Known {
    session: usize,
    rules: Option<Rules>,
    bytes: usize,
    fate: Fate,
}

#[derive(Default)]
struct Model {
    runs: Vec<Known>,
}

impl Model {
    fn index(run: &str) -> usize {
        run.parse().unwrap()
    }

    fn running(&self) -> Vec<usize> {
        (0..self.runs.len()).filter(|n| self.runs[*n].fate == Fate::Running).collect()
    }

    fn end(&mut self, run: usize) {
        self.runs[run].fate = Fate::Over;
        for other in &mut self.runs {
            if other.fate == Fate::With(run) {
                other.fate = Fate::Over;
            }
        }
    }

    /// Applies what was decided and checks that it was allowed.
    fn apply(&mut self, decisions: Vec<Decision>, queue: &Queue) -> Result<(), TestCaseError> {
        for decision in decisions {
            match decision {
                Decision::Start(turn) => {
                    let carrier = Self::index(&turn.run);
                    let session = self.runs[carrier].session;
                    prop_assert_eq!(self.runs[carrier].fate, Fate::Waiting);
                    prop_assert!(self.running().iter().all(|run| self.runs[*run].session != session), "two at once");
                    let together = turn.merged.iter().chain([&turn.run]).map(|run| self.runs[Self::index(run)].bytes);
                    prop_assert!(turn.merged.is_empty() || together.sum::<usize>() <= MAX_MERGED_BYTES, "too much at once");
                    let mut before = 0;
                    for run in turn.merged.iter().map(|run| Self::index(run)) {
                        prop_assert!(before <= run && run < carrier, "merged out of order");
                        prop_assert!(self.runs[run].rules.is_some_and(|rules| rules.mode == Mode::Collect));
                        before = run;
                    }
                    for run in turn.merged.iter().chain(&turn.summarized).map(|run| Self::index(run)) {
                        prop_assert_eq!((self.runs[run].fate, self.runs[run].session), (Fate::Waiting, session));
                        self.runs[run].fate = Fate::With(carrier);
                    }
                    self.runs[carrier].fate = Fate::Running;
                    // A message that is only told by its first line waits for the next message's turn, and requests pass it.
                    let summed: Vec<usize> =
                        queue.lanes.values().flat_map(|lane| &lane.summarized).map(|waiting| Self::index(&waiting.item.run)).collect();
                    let waits = |run: usize| self.runs[run].fate == Fate::Waiting && !summed.contains(&run);
                    let overtaken = (0..carrier).any(|run| self.runs[run].session == session && waits(run));
                    prop_assert!(!overtaken, "{carrier} overtook its session");
                }
                Decision::Drop(run, _) => {
                    let run = Self::index(&run);
                    prop_assert_eq!(self.runs[run].fate, Fate::Waiting, "{} was dropped", run);
                    self.runs[run].fate = Fate::Over;
                }
                Decision::Abort(run) => prop_assert_eq!(self.runs[Self::index(&run)].fate, Fate::Running),
                Decision::Steer { .. } => prop_assert!(false, "nobody takes input"),
            }
        }
        Ok(())
    }

    fn check(&self, queue: &Queue, max: usize, now: u64) -> Result<(), TestCaseError> {
        let running = self.running().len();
        let waiting = self.runs.iter().filter(|run| run.fate == Fate::Waiting).count();
        prop_assert!(running <= max);
        prop_assert_eq!(queue.counts(), (running, waiting));
        prop_assert!(queue.lanes.values().all(|lane| !lane.is_empty()), "an empty lane is kept");
        prop_assert_eq!(queue.places.len(), running + waiting);
        // The cap of a message holds from its own arrival on, so the largest one bounds what waits.
        for lane in queue.lanes.values() {
            let caps = lane.line.iter().chain(&lane.summarized).filter_map(|waiting| waiting.item.rules);
            let bound = caps.map(|rules| rules.cap.max(1)).max().unwrap_or(0).max(6);
            prop_assert!(lane.messages() <= bound && lane.summarized.len() <= bound, "the cap does not hold");
        }
        let idle = |session: usize| self.runs.iter().all(|run| run.session != session || run.fate != Fate::Running);
        let startable = self.runs.iter().any(|run| run.fate == Fate::Waiting && idle(run.session));
        if startable && running < max {
            prop_assert!(queue.wake_at().is_some_and(|at| at > now), "a run waits although it could start, and for no time");
        }
        Ok(())
    }
}

fn any_rules() -> impl Strategy<Value = Option<Rules>> {
    let mode = prop::sample::select(vec![Mode::Collect, Mode::Collect, Mode::Followup, Mode::Steer, Mode::SteerBacklog, Mode::Interrupt]);
    let drop = prop::sample::select(vec![Overflow::Old, Overflow::New, Overflow::Summarize]);
    let rules = (mode, 0u64..60, 0usize..6, drop).prop_map(|(mode, debounce_ms, cap, drop)| Rules { mode, debounce_ms, cap, drop });
    prop::option::weighted(0.8, rules)
}

#[derive(Clone, Debug)]
enum Step {
    Submit(usize, Option<Rules>, usize),
    End(usize),
    Abort(usize),
    Clear(usize),
    PutBack(usize),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3, any_rules(), 0..MAX_MERGED_BYTES).prop_map(|(session, rules, bytes)| Step::Submit(session, rules, bytes)),
        4 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Abort),
        1 => (0usize..3).prop_map(Step::Clear),
        1 => any::<usize>().prop_map(Step::PutBack),
        3 => (0u64..80).prop_map(Step::Wait),
    ]
}

proptest! {
    /// One at work per session, in order, never more than `max`, caps held; every run that was let in ends once, and none waits for ever.
    #[test]
    fn any_history_in_any_mode_keeps_the_rules(steps in prop::collection::vec(any_step(), 1..150), max in 1usize..4) {
        let (mut queue, mut model, mut now) = (Queue::new(max, 8), Model::default(), 0);
        for step in steps {
            let decisions = match step {
                Step::Submit(session, rules, bytes) => {
                    let name = session.to_string();
                    let full = rules.is_some_and(|rules| rules.drop == Overflow::New && rules.mode != Mode::Interrupt);
                    let Ok(place) = queue.admit(&name, rules.as_ref()) else {
                        prop_assert!(full, "refused without a reason");
                        continue;
                    };
                    let run = model.runs.len().to_string();
                    model.runs.push(Known { session, rules, bytes, fate: Fate::Waiting });
                    queue.handle(Event::Submit(Item { place: Some(place), bytes, ..item(&run, &name, rules) }), now)
                }
                Step::End(pick) => {
                    let running = model.running();
                    let Some(run) = running.get(pick % running.len().max(1)) else { continue };
                    model.end(*run);
                    queue.handle(Event::Ended(run.to_string()), now)
                }
                Step::Abort(pick) => {
                    let Some(run) = (!model.runs.is_empty()).then(|| pick % model.runs.len()) else { continue };
                    let decisions = queue.handle(Event::Remove(run.to_string()), now);
                    let dropped = decisions.contains(&Decision::Drop(run.to_string(), Why::Asked));
                    prop_assert_eq!(dropped, model.runs[run].fate == Fate::Waiting);
                    decisions
                }
                Step::Clear(session) => queue.handle(Event::Clear(session.to_string()), now),
                Step::PutBack(pick) => {
                    let running = model.running();
                    let Some(run) = running.get(pick % running.len().max(1)).copied() else { continue };
                    // A message that is put back has its others with it.
                    let known = &mut model.runs[run];
                    known.fate = Fate::Waiting;
                    let back = Item { sealed: true, ..item(&run.to_string(), &known.session.to_string(), known.rules) };
                    queue.handle(Event::PutBack(back), now)
                }
                Step::Wait(ms) => {
                    now += ms;
                    queue.handle(Event::Tick, now)
                }
            };
            model.apply(decisions, &queue)?;
            model.check(&queue, max, now)?;
        }
        // Left alone, everything comes to its end.
        let mut rounds = 0;
        while model.runs.iter().any(|run| run.fate != Fate::Over) {
            rounds += 1;
            prop_assert!(rounds < 1000, "something never ends");
            let decisions = match model.running().first() {
                Some(run) => {
                    let run = *run;
                    model.end(run);
                    queue.handle(Event::Ended(run.to_string()), now)
                }
                None => {
                    now = queue.wake_at().unwrap_or(now).max(now);
                    queue.handle(Event::Tick, now)
                }
            };
            model.apply(decisions, &queue)?;
            model.check(&queue, max, now)?;
        }
        prop_assert!(queue.lanes.is_empty() && queue.places.is_empty());
    }
}
