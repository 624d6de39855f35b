//! The log as a whole: groups, segments, repairs, faults.

use std::path::Path;

use super::record::Record;
use super::segment::Segment;
use super::*;

fn open(dir: &Path, limits: Limits) -> Audit {
    Audit::open(&dir.join("audit"), &dir.join("key"), "boot-1", limits).unwrap()
}

fn abort(target: &str) -> Event {
    Event::new(Action::Abort).by("someone").target(target)
}

/// Every whole record of all segments, in order.
fn records(dir: &Path) -> Vec<Record> {
    let mut all = Vec::new();
    for segment in segment::list(&dir.join("audit")).unwrap() {
        let text = std::fs::read(segment.path).unwrap();
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        all.extend(lines.filter_map(|line| record::read(&line[..line.len() - 1]).ok()).map(|(record, _)| record));
    }
    all
}

fn check(records: &[Record]) {
    let mut prev = Hash::default();
    for (record, n) in records.iter().zip(1..) {
        assert_eq!((record.n, record.prev), (n, prev));
        prev = record.hash.unwrap();
    }
}

#[tokio::test]
async fn records_are_there_when_append_returns_and_chained() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Limits::default());
    audit.note(abort("first"));
    audit.append(abort("second")).await.unwrap();
    let written = records(dir.path());
    check(&written);
    assert_eq!(written.iter().map(|record| record.target.as_deref().unwrap()).collect::<Vec<_>>(), ["first", "second"]);
    let state = audit.state();
    assert_eq!((state.head.n, Some(state.head.hash), state.synced), (2, written[1].hash, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_write_at_once_is_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Limits::default());
    let tasks = crate::tasks::Tasks::new();
    for n in 0..300 {
        let audit = audit.clone();
        tasks.spawn("append", async move { audit.append(abort(&n.to_string())).await.unwrap() });
    }
    assert!(tasks.drain(Duration::from_secs(30)).await);
    let written = records(dir.path());
    check(&written);
    assert_eq!(written.len(), 300);
}

#[tokio::test]
async fn a_later_daemon_goes_on_with_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), Limits::default()).append(abort("a")).await.unwrap();
    let audit = open(dir.path(), Limits::default());
    assert_eq!(audit.state().head.n, 1);
    audit.append(abort("b")).await.unwrap();
    check(&records(dir.path()));
    assert_eq!(segment::list(&dir.path().join("audit")).unwrap().len(), 1);
}

#[tokio::test]
async fn full_segments_are_sealed_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Limits { segment_bytes: 1000, segments: 3 });
    for n in 0..40 {
        audit.append(abort(&n.to_string())).await.unwrap();
    }
    let left = segment::list(&dir.path().join("audit")).unwrap();
    assert!(left.len() <= 3 && left[0].number > 1, "{left:?}");
    let written = records(dir.path());
    let seal = written.iter().find(|record| record.action == "audit.seal").unwrap();
    assert!(seal.sig.is_some());
    let pruned = written.iter().rfind(|record| record.action == "audit.prune").unwrap();
    assert_eq!(pruned.detail["n"], written[0].n - 1);
    assert_eq!(pruned.detail["hash"], written[0].prev.to_string());
}

#[tokio::test]
async fn a_torn_end_stays_where_it_is_and_a_signed_record_names_it() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), Limits::default()).append(abort("a")).await.unwrap();
    let first = Segment::new(&dir.path().join("audit"), 1).path;
    let whole = std::fs::read(&first).unwrap();
    for (torn, segment) in [(&b"{\"n\":2,\"ts\":"[..], 2), (&[0; 100], 3)] {
        let last = Segment::new(&dir.path().join("audit"), segment - 1).path;
        let before = std::fs::read(&last).unwrap();
        std::fs::write(&last, [&before[..], torn].concat()).unwrap();
        let audit = open(dir.path(), Limits::default());
        audit.append(abort("b")).await.unwrap();
        assert_eq!(audit.state().segment, segment);
        assert_eq!(std::fs::read(&last).unwrap(), [&before[..], torn].concat(), "the evidence stays");
        let written = records(dir.path());
        check(&written);
        let repair = &written[written.len() - 2];
        assert_eq!((repair.action.as_str(), repair.sig.is_some()), ("audit.repair", true));
        assert_eq!((&repair.detail["offset"], &repair.detail["bytes"]), (&before.len().into(), &torn.len().into()));
        assert_eq!(repair.target_digest, Some(record::sha256(torn)));
    }
    assert!(std::fs::read(&first).unwrap().starts_with(&whole));
}

#[tokio::test]
async fn a_log_that_was_cut_at_a_boundary_is_noticed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Limits::default());
    audit.append(abort("a")).await.unwrap();
    let first = Segment::new(&dir.path().join("audit"), 1).path;
    let short = std::fs::read(&first).unwrap();
    audit.append(abort("b")).await.unwrap();
    audit.close(Event::new(Action::Stop)).await.unwrap();
    std::fs::write(&first, short).unwrap();
    let audit = open(dir.path(), Limits::default());
    audit.append(abort("c")).await.unwrap();
    let written = records(dir.path());
    assert_eq!((written[1].action.as_str(), &written[1].detail["n"]), ("audit.gap", &3.into()));
}

#[tokio::test]
async fn after_the_end_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), Limits::default());
    audit.close(Event::new(Action::Stop)).await.unwrap();
    assert_eq!(audit.append(abort("a")).await, Err(AuditError::Closed));
    audit.note(abort("b"));
    assert_eq!(records(dir.path()).iter().map(|record| record.action.as_str()).collect::<Vec<_>>(), ["stop"]);
}
