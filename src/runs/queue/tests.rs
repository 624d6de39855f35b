//! The queue against its rules, one by one, and against a model over random histories.

use proptest::prelude::*;

use super::rules::{Mode, Overflow, Rules};
use super::{Decision, Event, Item, Queue, Turn, Why};

fn rules(mode: Mode) -> Rules {
    Rules { mode, debounce_ms: 100, cap: 3, drop: Overflow::Summarize }
}

fn item(run: &str, session: &str, rules: Option<Rules>) -> Item {
    Item { run: run.into(), session: session.into(), place: None, rules, with: "main/shell".into(), sealed: false, takes_input: false }
}

fn submit(queue: &mut Queue, run: &str, rules: Option<Rules>, now: u64) -> Vec<Decision> {
    let place = queue.admit("s", rules.as_ref()).ok();
    queue.handle(Event::Submit(Item { place, ..item(run, "s", rules) }), now)
}

fn start(run: &str, merged: &[&str], summarized: &[&str]) -> Decision {
    let owned = |runs: &[&str]| runs.iter().map(|run| (*run).to_owned()).collect();
    Decision::Start(Turn { run: run.into(), merged: owned(merged), summarized: owned(summarized) })
}

fn ended(queue: &mut Queue, run: &str, now: u64) -> Vec<Decision> {
    queue.handle(Event::Ended(run.into()), now)
}

#[test]
fn one_run_per_session_in_order_and_never_more_than_max() {
    let mut queue = Queue::new(1);
    assert_eq!(submit(&mut queue, "a", None, 0), [start("a", &[], &[])]);
    assert_eq!(submit(&mut queue, "b", None, 0), []);
    assert_eq!(queue.handle(Event::Submit(item("c", "other", None)), 0), []);
    assert_eq!((queue.position("b"), queue.position("c"), queue.counts()), (Some(1), Some(2), (1, 2)));
    assert_eq!(ended(&mut queue, "a", 1), [start("b", &[], &[])]);
    assert_eq!(ended(&mut queue, "b", 2), [start("c", &[], &[])]);
    assert_eq!(ended(&mut queue, "c", 3), []);
    assert_eq!((queue.counts(), queue.lanes.len(), queue.places.len()), ((0, 0), 0, 0));
}

#[test]
fn collected_messages_are_one_turn_after_the_run_and_a_quiet_time() {
    let mut queue = Queue::new(4);
    let collect = Some(rules(Mode::Collect));
    assert_eq!(submit(&mut queue, "a", collect, 0), [start("a", &[], &[])], "nobody to wait for");
    submit(&mut queue, "b", collect, 10);
    submit(&mut queue, "c", collect, 50);
    assert_eq!((ended(&mut queue, "a", 60), queue.wake_at()), (vec![], Some(150)));
    assert_eq!(queue.handle(Event::Tick, 149), []);
    assert_eq!(queue.handle(Event::Tick, 150), [start("c", &["b"], &[])]);
}

#[test]
fn a_full_group_does_not_wait_for_quiet_and_requests_in_between_part_it() {
    let mut queue = Queue::new(4);
    let collect = Some(rules(Mode::Collect));
    submit(&mut queue, "a", None, 0);
    for run in ["b", "c"] {
        submit(&mut queue, run, collect, 1);
    }
    submit(&mut queue, "agent", None, 1);
    submit(&mut queue, "d", collect, 1);
    assert_eq!(ended(&mut queue, "a", 2), []);
    assert_eq!(queue.handle(Event::Tick, 101), [start("c", &["b"], &[])]);
    assert_eq!(ended(&mut queue, "c", 102), [start("agent", &[], &[])]);
    for run in ["e", "f"] {
        submit(&mut queue, run, collect, 103);
    }
    assert_eq!(ended(&mut queue, "agent", 104), [start("f", &["d", "e"], &[])], "three are as many as may wait");
}

#[test]
fn followups_have_turns_of_their_own_and_a_steer_that_nobody_takes_is_one() {
    for mode in [Mode::Followup, Mode::Steer, Mode::SteerBacklog] {
        let mut queue = Queue::new(4);
        submit(&mut queue, "a", Some(rules(mode)), 0);
        assert_eq!(submit(&mut queue, "b", Some(rules(mode)), 1), []);
        assert_eq!(submit(&mut queue, "c", Some(rules(mode)), 1), []);
        assert_eq!(ended(&mut queue, "a", 2), [start("b", &[], &[])]);
        assert_eq!(ended(&mut queue, "b", 2), [start("c", &[], &[])]);
    }
}

#[test]
fn a_run_that_takes_input_is_told_and_a_message_that_it_declines_waits() {
    let mut queue = Queue::new(4);
    queue.handle(Event::Submit(Item { takes_input: true, ..item("a", "s", None) }), 0);
    let told = Decision::Steer { run: "b".into(), into: "a".into() };
    assert_eq!(submit(&mut queue, "b", Some(rules(Mode::Steer)), 1), [told]);
    assert_eq!(ended(&mut queue, "a", 2), [], "not decided yet");
    assert_eq!(queue.handle(Event::Declined("b".into()), 3), [start("b", &[], &[])]);
}

#[test]
fn an_interrupt_drops_what_waits_aborts_what_works_and_is_next() {
    let mut queue = Queue::new(4);
    submit(&mut queue, "a", None, 0);
    submit(&mut queue, "b", Some(rules(Mode::Collect)), 1);
    submit(&mut queue, "c", None, 1);
    let decided = submit(&mut queue, "d", Some(rules(Mode::Interrupt)), 2);
    let dropped = |run: &str| Decision::Drop(run.into(), Why::Interrupted);
    assert_eq!(decided, [Decision::Abort("a".into()), dropped("b"), dropped("c")]);
    assert_eq!(ended(&mut queue, "a", 3), [start("d", &[], &[])]);
}

#[test]
fn the_oldest_goes_or_is_summed_up_or_the_newest_is_refused() {
    for drop in [Overflow::Old, Overflow::Summarize, Overflow::New] {
        let mut queue = Queue::new(1);
        let some = Some(Rules { drop, ..rules(Mode::Collect) });
        submit(&mut queue, "a", some, 0);
        for run in ["b", "c", "d"] {
            assert_eq!(submit(&mut queue, run, some, 1), []);
        }
        if drop == Overflow::New {
            assert_eq!(queue.admit("s", some.as_ref()).unwrap_err().cap, 3);
            assert!(queue.admit("s", None).is_ok(), "only messages are bound by it");
            continue;
        }
        let fifth = submit(&mut queue, "e", some, 1);
        let end = ended(&mut queue, "a", 1);
        if drop == Overflow::Old {
            assert_eq!((fifth, end), (vec![Decision::Drop("b".into(), Why::Overflow)], vec![start("e", &["c", "d"], &[])]));
        } else {
            assert_eq!((fifth, end), (vec![], vec![start("e", &["c", "d"], &["b"])]));
        }
    }
}

#[test]
fn summaries_that_nobody_is_left_to_hear_end() {
    let mut queue = Queue::new(1);
    let some = Some(Rules { cap: 1, ..rules(Mode::Followup) });
    for run in ["a", "b", "c"] {
        submit(&mut queue, run, some, 0);
    }
    let decided = queue.handle(Event::Remove("c".into()), 1);
    assert_eq!(decided, [Decision::Drop("c".into(), Why::Asked), Decision::Drop("b".into(), Why::Overflow)]);
}

#[test]
fn an_adopted_run_counts_and_one_that_is_put_back_is_before_all_others() {
    let mut queue = Queue::new(1);
    queue.handle(Event::Adopt { run: "a".into(), session: "s".into(), takes_input: false }, 0);
    assert_eq!(submit(&mut queue, "b", None, 0), []);
    let carrier = Item { sealed: true, ..item("a", "s", Some(rules(Mode::Collect))) };
    assert_eq!(queue.handle(Event::PutBack(carrier), 0), [start("a", &[], &[])]);
    assert_eq!((queue.position("b"), queue.counts()), (Some(1), (1, 1)));
}

#[test]
fn places_that_are_given_back_leave_nothing_behind() {
    let mut queue = Queue::new(1);
    let place = queue.admit("s", None).unwrap();
    queue.handle(Event::Left { session: "s".into(), place }, 0);
    assert!(queue.lanes.is_empty());
    assert_eq!(queue.next_position("s"), None);
    submit(&mut queue, "a", None, 0);
    assert_eq!((queue.next_position("s"), queue.next_position("t")), (Some(1), Some(1)));
}

#[test]
fn the_order_of_requests_is_kept_whatever_takes_longer_on_the_way() {
    let mut queue = Queue::new(4);
    let places: Vec<i64> = (0..3).map(|_| queue.admit("s", None).unwrap()).collect();
    let mut come = |run: &str, n: usize| queue.handle(Event::Submit(Item { place: Some(places[n]), ..item(run, "s", None) }), 0);
    assert_eq!(come("c", 2), []);
    assert_eq!(come("a", 0), [start("a", &[], &[])]);
    assert_eq!(ended(&mut queue, "a", 1), [], "the second is on its way");
    assert_eq!(queue.handle(Event::Left { session: "s".into(), place: places[1] }, 2), [start("c", &[], &[])]);
}

#[test]
fn an_interrupt_that_comes_late_spares_what_was_sent_after_it() {
    let mut queue = Queue::new(4);
    submit(&mut queue, "a", None, 0);
    let (interrupt, later) = (queue.admit("s", None).unwrap(), queue.admit("s", None).unwrap());
    queue.handle(Event::Submit(Item { place: Some(later), ..item("c", "s", Some(rules(Mode::Followup))) }), 1);
    let decided = queue.handle(Event::Submit(Item { place: Some(interrupt), ..item("b", "s", Some(rules(Mode::Interrupt))) }), 1);
    assert_eq!(decided, [Decision::Abort("a".into())]);
    assert_eq!(ended(&mut queue, "a", 2), [start("b", &[], &[])]);
    assert_eq!(ended(&mut queue, "b", 2), [start("c", &[], &[])]);
}

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
    Submit(usize, Option<Rules>),
    End(usize),
    Abort(usize),
    Clear(usize),
    PutBack(usize),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3, any_rules()).prop_map(|(session, rules)| Step::Submit(session, rules)),
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
        let (mut queue, mut model, mut now) = (Queue::new(max), Model::default(), 0);
        for step in steps {
            let decisions = match step {
                Step::Submit(session, rules) => {
                    let name = session.to_string();
                    let full = rules.is_some_and(|rules| rules.drop == Overflow::New && rules.mode != Mode::Interrupt);
                    let Ok(place) = queue.admit(&name, rules.as_ref()) else {
                        prop_assert!(full, "refused without a reason");
                        continue;
                    };
                    let run = model.runs.len().to_string();
                    model.runs.push(Known { session, rules, fate: Fate::Waiting });
                    queue.handle(Event::Submit(Item { place: Some(place), ..item(&run, &name, rules) }), now)
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
