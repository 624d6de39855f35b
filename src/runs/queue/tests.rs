//! The queue against its rules, one by one.

use super::rules::{Mode, Overflow, Rules};
use super::{Decision, Event, Item, MAX_MERGED_BYTES, Queue, Room, Turn, Why};

fn rules(mode: Mode) -> Rules {
    Rules { mode, debounce_ms: 100, cap: 3, drop: Overflow::Summarize }
}

pub(super) fn item(run: &str, session: &str, rules: Option<Rules>) -> Item {
    Item {
        run: run.into(),
        session: session.into(),
        place: None,
        rules,
        with: "main/shell".into(),
        bytes: 100,
        sealed: false,
        takes_input: false,
        nested: false,
        weight: 0,
    }
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
    let mut queue = Queue::new(1, 8);
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
    let mut queue = Queue::new(4, 8);
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
    let mut queue = Queue::new(4, 8);
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
fn a_message_to_a_free_session_has_its_own_turn_also_when_it_waits_for_a_place() {
    let collect = Some(rules(Mode::Collect));
    let mut queue = Queue::new(1, 8);
    queue.handle(Event::Submit(item("other", "t", None)), 0);
    for run in ["a", "b", "c"] {
        assert_eq!(submit(&mut queue, run, collect, 1), []);
    }
    assert_eq!(ended(&mut queue, "other", 2), [start("a", &[], &[])], "at once, and without the others");
    assert_eq!(ended(&mut queue, "a", 3), []);
    assert_eq!(queue.handle(Event::Tick, 101), [start("c", &["b"], &[])]);
}

#[test]
fn of_two_messages_to_a_free_session_the_first_that_was_let_in_has_its_own_turn_whichever_is_through_first() {
    let collect = Some(rules(Mode::Collect));
    for first_leaves in [false, true] {
        let mut queue = Queue::new(4, 8);
        let places: Vec<i64> = (0..2).map(|_| queue.admit("s", collect.as_ref()).unwrap()).collect();
        let second = Item { place: Some(places[1]), ..item("b", "s", collect) };
        assert_eq!(queue.handle(Event::Submit(second), 0), []);
        if first_leaves {
            let left = queue.handle(Event::Left { session: "s".into(), place: places[0] }, 1);
            assert_eq!(left, [start("b", &[], &[])], "nobody else is there to wait for");
            continue;
        }
        let first = Item { place: Some(places[0]), ..item("a", "s", collect) };
        assert_eq!(queue.handle(Event::Submit(first), 1), [start("a", &[], &[])]);
        assert_eq!(ended(&mut queue, "a", 2), []);
        assert_eq!(queue.handle(Event::Tick, 101), [start("b", &[], &[])]);
    }
}

#[test]
fn messages_are_answered_together_as_far_as_their_size_allows() {
    let mut queue = Queue::new(4, 8);
    let collect = Some(Rules { cap: 10, ..rules(Mode::Collect) });
    submit(&mut queue, "a", None, 0);
    for (run, bytes) in [("b", MAX_MERGED_BYTES - 10), ("c", 10), ("d", 1), ("e", MAX_MERGED_BYTES * 2), ("f", 1)] {
        let place = queue.admit("s", collect.as_ref()).ok();
        assert_eq!(queue.handle(Event::Submit(Item { place, bytes, ..item(run, "s", collect) }), 1), []);
    }
    assert_eq!(ended(&mut queue, "a", 2), [start("c", &["b"], &[])], "it is full, so it waits for nobody");
    assert_eq!(ended(&mut queue, "c", 3), [start("d", &[], &[])]);
    assert_eq!(ended(&mut queue, "d", 4), [start("e", &[], &[])], "one that is too large stands alone");
    assert_eq!((ended(&mut queue, "e", 5), queue.wake_at()), (vec![], Some(101)));
    assert_eq!(queue.handle(Event::Tick, 101), [start("f", &[], &[])]);
}

#[test]
fn followups_have_turns_of_their_own_and_a_steer_that_nobody_takes_is_one() {
    for mode in [Mode::Followup, Mode::Steer, Mode::SteerBacklog] {
        let mut queue = Queue::new(4, 8);
        submit(&mut queue, "a", Some(rules(mode)), 0);
        assert_eq!(submit(&mut queue, "b", Some(rules(mode)), 1), []);
        assert_eq!(submit(&mut queue, "c", Some(rules(mode)), 1), []);
        assert_eq!(ended(&mut queue, "a", 2), [start("b", &[], &[])]);
        assert_eq!(ended(&mut queue, "b", 2), [start("c", &[], &[])]);
    }
}

#[test]
fn a_run_that_takes_input_is_told_and_a_message_that_it_declines_waits() {
    let mut queue = Queue::new(4, 8);
    queue.handle(Event::Submit(Item { takes_input: true, ..item("a", "s", None) }), 0);
    let told = Decision::Steer { run: "b".into(), into: "a".into() };
    assert_eq!(submit(&mut queue, "b", Some(rules(Mode::Steer)), 1), [told]);
    assert_eq!(ended(&mut queue, "a", 2), [], "not decided yet");
    assert_eq!(queue.handle(Event::Declined("b".into()), 3), [start("b", &[], &[])]);
    assert!(!queue.withdraw("b"), "it is at work");
    submit(&mut queue, "c", Some(rules(Mode::Steer)), 4);
    assert!(queue.withdraw("c") && !queue.withdraw("c"));
    assert_eq!(ended(&mut queue, "b", 5), []);
    assert!(queue.lanes.is_empty());
}

#[test]
fn an_interrupt_drops_what_waits_aborts_what_works_and_is_next() {
    let mut queue = Queue::new(4, 8);
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
        let mut queue = Queue::new(1, 8);
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
    let mut queue = Queue::new(1, 8);
    let some = Some(Rules { cap: 1, ..rules(Mode::Followup) });
    for run in ["a", "b", "c"] {
        submit(&mut queue, run, some, 0);
    }
    let decided = queue.handle(Event::Remove("c".into()), 1);
    assert_eq!(decided, [Decision::Drop("c".into(), Why::Asked), Decision::Drop("b".into(), Why::Overflow)]);
}

#[test]
fn an_adopted_run_counts_and_one_that_is_put_back_is_before_all_others() {
    let mut queue = Queue::new(1, 8);
    queue.handle(Event::Adopt { run: "a".into(), session: "s".into(), takes_input: false, nested: false, weight: 0 }, 0);
    assert_eq!(submit(&mut queue, "b", None, 0), []);
    let carrier = Item { sealed: true, ..item("a", "s", Some(rules(Mode::Collect))) };
    assert_eq!(queue.handle(Event::PutBack(carrier), 0), [start("a", &[], &[])]);
    assert_eq!((queue.position("b"), queue.counts()), (Some(1), (1, 1)));
}

#[test]
fn places_that_are_given_back_leave_nothing_behind() {
    let mut queue = Queue::new(1, 8);
    let place = queue.admit("s", None).unwrap();
    queue.handle(Event::Left { session: "s".into(), place }, 0);
    assert!(queue.lanes.is_empty());
    assert_eq!(queue.next_position("s", 0), None);
    submit(&mut queue, "a", None, 0);
    assert_eq!((queue.next_position("s", 0), queue.next_position("t", 0)), (Some(1), Some(1)));
}

#[test]
fn the_order_of_requests_is_kept_whatever_takes_longer_on_the_way() {
    let mut queue = Queue::new(4, 8);
    let places: Vec<i64> = (0..3).map(|_| queue.admit("s", None).unwrap()).collect();
    let mut come = |run: &str, n: usize| queue.handle(Event::Submit(Item { place: Some(places[n]), ..item(run, "s", None) }), 0);
    assert_eq!(come("c", 2), []);
    assert_eq!(come("a", 0), [start("a", &[], &[])]);
    assert_eq!(ended(&mut queue, "a", 1), [], "the second is on its way");
    assert_eq!(queue.handle(Event::Left { session: "s".into(), place: places[1] }, 2), [start("c", &[], &[])]);
}

#[test]
fn an_interrupt_that_comes_late_spares_what_was_sent_after_it() {
    let mut queue = Queue::new(4, 8);
    submit(&mut queue, "a", None, 0);
    let (interrupt, later) = (queue.admit("s", None).unwrap(), queue.admit("s", None).unwrap());
    queue.handle(Event::Submit(Item { place: Some(later), ..item("c", "s", Some(rules(Mode::Followup))) }), 1);
    let decided = queue.handle(Event::Submit(Item { place: Some(interrupt), ..item("b", "s", Some(rules(Mode::Interrupt))) }), 1);
    assert_eq!(decided, [Decision::Abort("a".into())]);
    assert_eq!(ended(&mut queue, "a", 2), [start("b", &[], &[])]);
    assert_eq!(ended(&mut queue, "b", 2), [start("c", &[], &[])]);
}

#[test]
fn nested_runs_have_places_of_their_own_so_that_who_waits_for_one_never_waits_for_ever() {
    let mut queue = Queue::new(1, 2);
    let mut submit = |run: &str, nested| queue.handle(Event::Submit(Item { nested, ..item(run, run, None) }), 0);
    assert_eq!(submit("parent", false), [start("parent", &[], &[])]);
    assert_eq!(submit("other", false), []);
    assert_eq!(submit("child1", true), [start("child1", &[], &[])]);
    assert_eq!(submit("child2", true), [start("child2", &[], &[])]);
    assert_eq!(submit("child3", true), []);
    assert_eq!(queue.counts(), (3, 2));
    assert_eq!(ended(&mut queue, "child1", 1), [start("child3", &[], &[])]);
    assert_eq!(ended(&mut queue, "child2", 2), []);
    assert_eq!(ended(&mut queue, "parent", 3), [start("other", &[], &[])]);
}

fn heavy(queue: &mut Queue, run: &str, session: &str, weight: u64) -> Vec<Decision> {
    queue.handle(Event::Submit(Item { weight, ..item(run, session, None) }), 0)
}

#[test]
fn heavy_runs_wait_for_room_and_nobody_else_waits_for_them() {
    for room in [Room::Count(2), Room::Memory(500)] {
        let mut queue = Queue::new(9, 8);
        queue.set_room(room);
        assert_eq!(heavy(&mut queue, "a", "a", 250), [start("a", &[], &[])]);
        assert_eq!(heavy(&mut queue, "b", "b", 250), [start("b", &[], &[])]);
        assert_eq!(heavy(&mut queue, "c", "c", 250), []);
        assert_eq!((queue.position("c"), queue.wake_at()), (Some(1), None), "it waits for another's end and not for time");
        assert_eq!((queue.next_position("d", 250), queue.next_position("d", 0)), (Some(2), None));
        assert_eq!(heavy(&mut queue, "d", "d", 0), [start("d", &[], &[])]);
        assert_eq!(ended(&mut queue, "d", 1), []);
        assert_eq!(ended(&mut queue, "a", 1), [start("c", &[], &[])]);
        queue.handle(Event::Ended("b".into()), 1);
        queue.handle(Event::Ended("c".into()), 1);
        assert_eq!((queue.heavy.count, queue.heavy.weight, queue.counts()), (0, 0, (0, 0)));
    }
}

#[test]
fn a_run_that_is_heavier_than_all_room_works_alone() {
    let mut queue = Queue::new(9, 8);
    queue.set_room(Room::Memory(100));
    assert_eq!(heavy(&mut queue, "a", "a", 600), [start("a", &[], &[])]);
    assert_eq!(heavy(&mut queue, "b", "b", 250), []);
    assert_eq!(ended(&mut queue, "a", 1), [start("b", &[], &[])]);
    // One of an earlier daemon counts.
    queue.handle(Event::Adopt { run: "x".into(), session: "x".into(), takes_input: false, nested: false, weight: 600 }, 1);
    assert_eq!(heavy(&mut queue, "c", "c", 250), []);
    queue.set_room(Room::Count(3));
    assert_eq!(queue.handle(Event::Tick, 2), [start("c", &[], &[])]);
}
