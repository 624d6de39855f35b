//! What is done to a log is found, and the right record named.

use std::path::PathBuf;

use super::super::key::Key;
use super::super::{Audit, Event, Limits};
use super::*;

struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    /// Boot, five records, stop: 1 to 7.
    async fn of_one_boot() -> Self {
        let log = Self { dir: tempfile::tempdir().unwrap() };
        log.boot(5, Limits::default()).await;
        log
    }

    async fn boot(&self, records: u64, limits: Limits) {
        let audit = Audit::open(&self.path(), &self.key_path(), "b", limits).unwrap();
        audit.note(Event::new(Action::Boot));
        for n in 0..records {
            audit.append(Event::new(Action::Abort).target(&format!("run {n}"))).await.unwrap();
        }
        audit.close(Event::new(Action::Stop)).await.unwrap();
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    fn key_path(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    fn key(&self) -> Verifier {
        Key::open(&self.key_path()).unwrap().verifier()
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(Segment::new(&self.path(), 1).path).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(Segment::new(&self.path(), 1).path, text).unwrap();
    }

    /// Without `head.json`, so that only the chain speaks.
    fn alone(&self) -> Report {
        let _ = std::fs::remove_file(self.path().join(HEAD_FILE));
        self.report()
    }

    fn report(&self) -> Report {
        verify(&self.path(), &[self.key()], &[]).unwrap()
    }

    fn fault(&self) -> (u64, Kind) {
        let fault = self.report().fault.expect("a fault");
        (fault.n, fault.kind)
    }
}

/// A line with another text and the hash that fits it.
fn rehashed(line: &str, from: &str, to: &str) -> String {
    let body = line.split(",\"hash\":").next().unwrap().replace(from, to);
    format!("{body},\"hash\":\"{}\"}}", sha256(body.as_bytes()))
}

#[tokio::test]
async fn a_log_as_it_was_written_has_no_fault() {
    let log = Log::of_one_boot().await;
    log.boot(3, Limits::default()).await;
    let report = log.report();
    assert_eq!(report.fault, None);
    assert_eq!((report.first, report.last, report.records, report.signed, report.vouched), (1, 12, 12, 4, 12));
    assert!(report.closed && report.notices.is_empty(), "{report:?}");
}

#[tokio::test]
async fn m106_an_edited_record_is_named() {
    let log = Log::of_one_boot().await;
    let good = log.lines();
    let with = |at: usize, line: String| {
        let mut lines = good.clone();
        lines[at] = line;
        log.write(&lines);
    };
    with(3, good[3].replace("run 2", "run 9"));
    assert_eq!(log.fault(), (4, Kind::Edited), "its hash does not fit");
    with(3, rehashed(&good[3], "run 2", "run 9"));
    assert_eq!(log.fault(), (4, Kind::Edited), "the next record names another");
    with(0, good[0].replace("boot", "toob"));
    assert_eq!(log.fault(), (1, Kind::Edited));
    with(6, good[6].replace("\"sig\":\"", "\"sig\":\"A"));
    assert_eq!(log.fault(), (7, Kind::Forged));
    with(3, "not a record".to_owned());
    assert_eq!(log.fault(), (4, Kind::Edited));
    with(3, String::new());
    assert_eq!(log.fault(), (4, Kind::Edited));
}

#[tokio::test]
async fn m106_a_chain_computed_anew_lacks_the_signature() {
    let log = Log::of_one_boot().await;
    let mut lines = log.lines();
    let mut prev: Option<(String, String)> = None;
    for line in lines.iter_mut().skip(3) {
        let old = record::read(line.as_bytes()).unwrap().1.to_string();
        let changed = match &prev {
            None => rehashed(line, "run 2", "run 9"),
            Some((from, to)) => rehashed(line, from, to),
        };
        let new = record::read(changed.as_bytes()).unwrap().1.to_string();
        (prev, *line) = (Some((old, new)), changed);
    }
    log.write(&lines);
    assert_eq!(log.fault(), (7, Kind::Forged), "the stop is not signed");
    let other = Key::open(&log.dir.path().join("other")).unwrap();
    let hash = record::read(lines[6].as_bytes()).unwrap().1;
    use base64::Engine as _;
    let sig = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(other.sign(&hash));
    lines[6] = format!("{},\"sig\":\"{sig}\"}}", lines[6].strip_suffix('}').unwrap());
    log.write(&lines);
    let fault = log.report().fault.unwrap();
    assert_eq!((fault.n, fault.kind), (7, Kind::Forged));
    assert!(fault.text.contains("since 2"), "{}", fault.text);
}

#[tokio::test]
async fn m106_a_removed_record_is_named() {
    let log = Log::of_one_boot().await;
    let good = log.lines();
    let mut lines = good.clone();
    lines.drain(2..4);
    log.write(&lines);
    assert_eq!(log.fault(), (3, Kind::Removed));
    log.write(&good[2..]);
    assert_eq!(log.fault(), (1, Kind::Removed), "no record says that the beginning was pruned");
}

#[tokio::test]
async fn m106_a_record_in_another_place_is_named() {
    let log = Log::of_one_boot().await;
    let good = log.lines();
    let mut lines = good.clone();
    lines.swap(2, 4);
    log.write(&lines);
    assert_eq!(log.fault(), (3, Kind::Reordered));
    let mut lines = good.clone();
    lines.insert(4, good[2].clone());
    log.write(&lines);
    assert_eq!(log.fault(), (5, Kind::Reordered), "the same record twice");
}

#[tokio::test]
async fn m106_a_log_that_was_cut_off_is_named() {
    let log = Log::of_one_boot().await;
    let good = log.lines();
    log.write(&good[..4]);
    assert_eq!(log.fault(), (5, Kind::Truncated), "head.json knows of record 7");
    let report = log.alone();
    assert_eq!((report.fault, report.closed, report.notices.len()), (None, false, 1), "the chain alone cannot know, and says so");
    let head = Head { n: 6, hash: record::read(good[5].as_bytes()).unwrap().1 };
    let fault = verify(&log.path(), &[log.key()], &[head]).unwrap().fault.unwrap();
    assert_eq!((fault.n, fault.kind), (5, Kind::Truncated), "a head from elsewhere does");
    let mut text = good[..4].join("\n");
    text.truncate(text.len() - 5);
    std::fs::write(Segment::new(&log.path(), 1).path, text).unwrap();
    assert_eq!(log.fault(), (4, Kind::Truncated), "in the middle of a record");
    std::fs::write(Segment::new(&log.path(), 1).path, "").unwrap();
    assert_eq!(verify(&log.path(), &[log.key()], &[Head { n: 1, hash: Hash::default() }]).unwrap().fault.unwrap().n, 1);
}

#[tokio::test]
async fn m106_a_cut_stays_known_after_the_next_start() {
    let log = Log::of_one_boot().await;
    log.write(&log.lines()[..4]);
    log.boot(1, Limits::default()).await;
    let fault = log.report().fault.unwrap();
    assert_eq!((fault.n, fault.kind), (5, Kind::Truncated));
}

#[tokio::test]
async fn a_torn_end_that_the_next_start_named_is_no_fault_and_any_other_is() {
    let log = Log::of_one_boot().await;
    let first = Segment::new(&log.path(), 1).path;
    let whole = std::fs::read(&first).unwrap();
    let torn = [&whole[..], b"{\"n\":8,\"ts"].concat();
    std::fs::write(&first, &torn).unwrap();
    assert_eq!(log.fault(), (8, Kind::Truncated));
    log.boot(1, Limits::default()).await;
    let report = log.report();
    assert_eq!((&report.fault, report.segments, report.notices.len()), (&None, 2, 1), "{report:?}");
    std::fs::write(&first, [&torn[..], b"x"].concat()).unwrap();
    assert_eq!(log.fault(), (8, Kind::Truncated), "other bytes than were named");
}

#[tokio::test]
async fn segments_that_were_pruned_are_no_fault_and_one_that_is_missing_is() {
    let log = Log { dir: tempfile::tempdir().unwrap() };
    log.boot(40, Limits { segment_bytes: 1500, segments: 4 }).await;
    let report = log.report();
    assert!(report.fault.is_none() && report.first > 1, "{report:?}");
    let middle = segment::list(&log.path()).unwrap().remove(1);
    let (first, _) = record::read(std::fs::read(&middle.path).unwrap().split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    std::fs::remove_file(middle.path).unwrap();
    assert_eq!(log.fault(), (first.n, Kind::Removed));
}

#[tokio::test]
async fn without_the_right_key_nothing_is_vouched_for() {
    let log = Log::of_one_boot().await;
    let other = Key::open(&log.dir.path().join("other")).unwrap().verifier();
    let fault = verify(&log.path(), &[other], &[]).unwrap().fault.unwrap();
    assert_eq!((fault.n, fault.kind), (1, Kind::Forged));
    assert_eq!(verify(&log.path(), &[other, log.key()], &[]).unwrap().fault, None);
}
