//! What a connection is given of runs, in which order, and what it is not.

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
    tails.hold(vec![(3, Arc::clone(&log))]);
    assert!(!tails.has_unread());
    tails.follow(Arc::clone(&log), 3);
    log.append(4, Bytes::from_static(b"4"), false);
    assert_eq!(delivered(&mut tails).await, [4]);
    tails.follow(Arc::clone(&log), 1);
    log.append(5, Bytes::from_static(b"5"), true);
    assert_eq!(delivered(&mut tails).await, [2, 3, 5]);
}

#[tokio::test]
async fn a_run_that_began_after_the_subscription_is_not_held_where_it_was_found() {
    let (log, mut tails) = (log(5), Tails::default());
    tails.start(Arc::clone(&log));
    tails.hold(vec![(5, log)]);
    assert_eq!(delivered(&mut tails).await, [1, 2, 3, 4, 5]);
}

/// A log whose second and fourth line are of a tool, the fifth terminal.
fn with_tools() -> Arc<RunLog> {
    let log = RunLog::live("f", "r".into(), "s".into(), "/nonexistent".into());
    for seq in 1..=5 {
        let stream = if seq % 2 == 0 { "tool" } else { "exec" };
        let line = format!("{{\"runId\":\"r\",\"seq\":{seq},\"stream\":\"{stream}\",\"data\":{{\"result\":1}}}}");
        log.append(seq, Bytes::from(line), seq == 5);
    }
    Arc::new(log)
}

async fn told(tails: &mut Tails) -> Vec<(u64, bool)> {
    let mut told = Vec::new();
    while tails.has_unread() {
        for line in tails.read(0, 100).await {
            let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
            told.push((event["seq"].as_u64().unwrap(), event["data"].get("result").is_some()));
        }
        tails.rotate();
    }
    told
}

#[tokio::test]
async fn tools_are_told_to_who_started_the_run_in_the_detail_it_gets() {
    for (detail, expected) in [
        (None, vec![(1, true), (3, true), (5, true)]),
        (Some(ToolDetail::Brief), vec![(1, true), (2, false), (3, true), (4, false), (5, true)]),
        (Some(ToolDetail::Full), vec![(1, true), (2, true), (3, true), (4, true), (5, true)]),
    ] {
        let (log, mut tails) = (with_tools(), Tails::default());
        if let Some(detail) = detail {
            tails.started(&log, detail);
        }
        tails.start(log);
        assert_eq!(told(&mut tails).await, expected, "{detail:?}");
    }
}

#[tokio::test]
async fn who_subscribes_gets_the_whole_journal_also_what_was_withheld() {
    let all: Vec<_> = (1..=5).map(|seq| (seq, true)).collect();
    let (log, mut tails) = (with_tools(), Tails::default());
    tails.start(Arc::clone(&log));
    assert_eq!(told(&mut tails).await.len(), 3);
    tails.follow(Arc::clone(&log), 4);
    assert_eq!(told(&mut tails).await, [], "behind its place nothing was withheld");
    tails.unfollow("f");
    tails.follow(Arc::clone(&log), 0);
    assert_eq!(told(&mut tails).await, all);
    let mut tails = Tails::default();
    tails.start(Arc::clone(&log));
    told(&mut tails).await;
    tails.follow(Arc::clone(&log), 1);
    assert_eq!(told(&mut tails).await, [(2, true), (4, true)], "only what it has not had");
    let mut early = Tails::default();
    early.follow(log, 0);
    assert_eq!(told(&mut early).await, all);
}

#[tokio::test]
async fn a_subscription_in_the_middle_goes_back_for_what_was_withheld() {
    let whole = with_tools();
    let mut tails = Tails::default();
    tails.start(Arc::clone(&whole));
    let first: usize = tails.read(0, 1).await.len() + tails.read(0, 1).await.len() + tails.read(0, 1).await.len();
    assert_eq!(first, 2, "of three lines one was of a tool");
    tails.follow(whole, 1);
    assert_eq!(told(&mut tails).await, [(2, true), (4, true), (5, true)], "what was withheld, then the rest");
}

#[tokio::test]
async fn a_subscription_while_another_is_catching_up_waits_for_it_and_nothing_is_lost_or_repeated() {
    let (log, mut tails) = (log(9), Tails::default());
    tails.follow(Arc::clone(&log), 6);
    assert_eq!(delivered(&mut tails).await, [7, 8, 9]);
    tails.follow(Arc::clone(&log), 4);
    tails.follow(Arc::clone(&log), 2);
    tails.follow(Arc::clone(&log), 3);
    assert_eq!(delivered(&mut tails).await, [5, 6, 3, 4]);
    assert!(tails.is_empty());
}
