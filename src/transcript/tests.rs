//! Transcripts under everything that can happen to a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::glance::Item;
use super::page::Content;
use super::*;

const AT: u64 = 1_795_132_800_000;
const ALL: Query = Query { limit: 1000, offset: 0, max_bytes: 1 << 22, numbered: true };

struct Home {
    dir: tempfile::TempDir,
    all: Transcripts,
    path: PathBuf,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let all = Transcripts::new(dir.path());
        let path = all.path("main", "s1").unwrap();
        Self { dir, all, path }
    }

    /// The same files as another process sees them.
    fn reopened(&self) -> Transcripts {
        Transcripts::new(self.dir.path())
    }

    fn say(&self, text: &str) -> Appended {
        self.all.append(&self.path, &header(), NewEntry::message(message::user(text, AT), AT)).unwrap()
    }

    fn texts(&self) -> Vec<String> {
        texts(&self.all.page(&self.path, ALL).unwrap())
    }

    fn lines(&self) -> Vec<Value> {
        fs::read_to_string(&self.path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn write(&self, bytes: &[u8]) {
        fs::create_dir_all(self.path.parent().unwrap()).unwrap();
        fs::write(&self.path, bytes).unwrap();
    }
}

fn header() -> Header {
    Header { id: "s1".to_owned(), cwd: "/w".to_owned() }
}

fn texts(page: &Page) -> Vec<String> {
    let text = |row: &Row| match &row.content {
        Content::Message(raw) => message::text(&serde_json::from_str(raw.get()).unwrap()),
        Content::Compaction { summary, .. } => format!("<{summary}>"),
        Content::TooLarge { beginning, .. } => format!("{}…", beginning.get(..3).unwrap_or_default()),
    };
    page.rows.iter().map(text).collect()
}

#[test]
fn entries_follow_each_other_behind_a_header_in_a_private_file() {
    let home = Home::new();
    let ids: Vec<Appended> = ["a", "b", "c"].iter().map(|text| home.say(text)).collect();
    assert_eq!(ids.iter().map(|appended| appended.seq).collect::<Vec<_>>(), [1, 2, 3]);
    let lines = home.lines();
    assert_eq!(lines[0], json!({ "type": "session", "version": 3, "id": "s1", "timestamp": "2026-11-20T00:00:00.000Z", "cwd": "/w" }));
    assert_eq!(lines[1]["parentId"], Value::Null);
    assert!(lines[1].as_object().unwrap().contains_key("parentId"));
    assert_eq!((&lines[2]["parentId"], &lines[3]["parentId"]), (&json!(ids[0].id), &json!(ids[1].id)));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home.path), mode(home.path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(home.texts(), ["a", "b", "c"]);
}

#[test]
fn an_absent_transcript_is_empty_for_every_question() {
    let home = Home::new();
    assert!(home.texts().is_empty());
    assert_eq!(home.all.first_user_text(&home.path, 8192).unwrap(), None);
    assert_eq!(home.all.last_text(&home.path, 8192).unwrap(), None);
    assert_eq!(home.all.preview(&home.path, 5, 100).unwrap(), None);
    assert_eq!(home.all.compact(&home.path, 5, &header(), AT).unwrap(), Compacted::Missing);
    assert_eq!(home.all.archive(&home.path, "deleted", AT).unwrap(), None);
    assert!(!home.dir.path().join("agents").exists(), "asking makes nothing");
}

#[test]
fn ids_that_are_no_names_of_files_are_refused() {
    let home = Home::new();
    for id in ["", "..", ".hidden", "a/b", "a\0b", "../../etc/passwd", &"x".repeat(129)] {
        assert!(home.all.path("main", id).is_err() && home.all.path(id, "s").is_err(), "{id:?}");
    }
}

#[test]
fn a_file_torn_at_every_byte_is_read_and_continued() {
    let home = Home::new();
    for text in ["first", "second \u{1F600}", "third"] {
        home.say(text);
    }
    let whole = fs::read(&home.path).unwrap();
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    for cut in 0..=whole.len() {
        home.write(&whole[..cut]);
        // A whole line without its newline counts; the header is no message.
        let expected: Vec<String> = ["first", "second \u{1F600}", "third"]
            .iter()
            .zip(&ends[1..])
            .filter(|(_, end)| **end <= cut)
            .map(|(text, _)| (*text).to_owned())
            .collect();
        let other = home.reopened();
        let page = other.page(&home.path, ALL).unwrap();
        assert_eq!((texts(&page), page.damaged), (expected.clone(), 0), "cut at {cut}");
        let appended = other.append(&home.path, &header(), NewEntry::message(message::user("next", AT), AT)).unwrap();
        let lines = home.lines();
        assert_eq!((lines.len(), appended.seq), (expected.len() + 2, expected.len() as u64 + 1), "cut at {cut}");
        assert_eq!(lines[0]["type"], "session");
        let before = if expected.is_empty() { Value::Null } else { lines[expected.len()]["id"].clone() };
        assert_eq!(lines[expected.len() + 1]["parentId"], before, "cut at {cut}");
    }
}

#[test]
fn no_flipped_bit_is_fatal_or_costs_more_than_its_line() {
    let home = Home::new();
    for n in 0..4 {
        home.say(&format!("text {n}"));
    }
    let whole = fs::read(&home.path).unwrap();
    for at in 0..whole.len() {
        for bit in [0, 3, 7] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            home.write(&bytes);
            let other = home.reopened();
            let found = texts(&other.page(&home.path, ALL).unwrap());
            // A newline that became something else joins two lines.
            assert!(found.len() >= if whole[at] == b'\n' { 2 } else { 3 }, "byte {at} bit {bit}: {found:?}");
            if at % 16 == 0 {
                assert!(other.append(&home.path, &header(), NewEntry::message(message::user("next", AT), AT)).unwrap().fresh);
                let after = texts(&other.page(&home.path, ALL).unwrap());
                assert_eq!((after.last().unwrap().as_str(), after.len()), ("next", found.len() + 1), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn an_entry_with_a_key_is_appended_once_also_by_the_next_process() {
    let home = Home::new();
    let entry = |text: &str| NewEntry::message(message::user(text, AT), AT).once("run-1:user");
    let first = home.all.append(&home.path, &header(), entry("x")).unwrap();
    home.say("between");
    let again = home.all.append(&home.path, &header(), entry("x")).unwrap();
    assert_eq!((again.fresh, &again.id, again.seq), (false, &first.id, first.seq));
    let other = home.reopened();
    assert_eq!(other.append(&home.path, &header(), entry("x")).unwrap(), again);
    assert_eq!(home.texts(), ["x", "between"]);
    // Half of it does not count.
    let text = fs::read_to_string(&home.path).unwrap();
    let half = text.lines().take(1).map(|line| format!("{line}\n")).collect::<String>() + &text.lines().nth(1).unwrap()[..80];
    home.write(half.as_bytes());
    assert!(home.reopened().append(&home.path, &header(), entry("x")).unwrap().fresh);
    assert_eq!(home.texts(), ["x"]);
}

#[test]
fn fields_that_the_transcript_sets_itself_are_refused() {
    let home = Home::new();
    let mut entry = NewEntry::custom("x", json!({}), AT);
    entry.fields.insert("parentId".to_owned(), json!("0"));
    assert!(matches!(home.all.append(&home.path, &header(), entry), Err(TranscriptError::Entry(_))));
    assert!(!home.path.exists());
}

#[test]
fn many_writers_make_one_chain_and_readers_see_only_whole_entries() {
    let home = Home::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let home = &home;
                scope.spawn(move || (0..25).for_each(|n| drop(home.say(&format!("{writer}:{n} {}", "x".repeat(n * 100))))))
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut most = 0;
                    while !done.load(Ordering::Acquire) {
                        let page = home.reopened().page(&home.path, ALL).unwrap();
                        assert!(page.rows.len() >= most && page.damaged == 0);
                        most = page.rows.len();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let lines = home.lines();
    assert_eq!((lines.len(), home.texts().len()), (101, 100));
    assert!(lines.windows(2).skip(1).all(|pair| pair[1]["parentId"] == pair[0]["id"]));
}

#[test]
fn pages_go_back_to_the_beginning_without_holes() {
    let home = Home::new();
    for n in 0..10 {
        home.say(&format!("m{n}"));
    }
    home.all.append(&home.path, &header(), NewEntry::compaction("so far", "x", 10, AT)).unwrap();
    home.all.append(&home.path, &header(), NewEntry::custom("note", json!({ "a": 1 }), AT)).unwrap();
    let (mut offset, mut got, mut seqs) = (0, Vec::new(), Vec::new());
    loop {
        let page = home.all.page(&home.path, Query { limit: 4, offset, ..ALL }).unwrap();
        got.splice(0..0, texts(&page));
        seqs.splice(0..0, page.rows.iter().map(|row| row.seq));
        offset += page.rows.len();
        if !page.has_more {
            break;
        }
    }
    assert_eq!(got, ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "<so far>"]);
    assert_eq!(seqs, (1..=11).collect::<Vec<_>>());
    let beyond = home.all.page(&home.path, Query { offset: 99, ..ALL }).unwrap();
    assert!(beyond.rows.is_empty() && !beyond.has_more);
}

#[test]
fn a_page_holds_no_more_bytes_than_asked_for_and_drops_the_oldest() {
    let home = Home::new();
    for n in 0..6 {
        home.say(&format!("{n}{}", "x".repeat(1000)));
    }
    let page = home.all.page(&home.path, Query { max_bytes: 3500, ..ALL }).unwrap();
    assert_eq!((page.rows.len(), page.has_more), (3, true));
    assert!(texts(&page)[2].starts_with('5'));
    home.say(&"y".repeat(200_000));
    let page = home.all.page(&home.path, Query { max_bytes: 3500, ..ALL }).unwrap();
    assert_eq!(texts(&page)[page.rows.len() - 1], "yyy…");
    assert!(home.all.get(&home.path, page.rows.last().unwrap().id.as_deref().unwrap(), 1 << 20).unwrap().is_some());
}

#[test]
fn one_message_is_found_by_its_id() {
    let home = Home::new();
    let ids: Vec<Appended> = ["a", "b", "c"].iter().map(|text| home.say(text)).collect();
    let row = home.all.get(&home.path, &ids[1].id, 1 << 20).unwrap().unwrap();
    assert_eq!((row.seq, texts(&Page { rows: vec![row], ..Page::default() })), (2, vec!["b".to_owned()]));
    assert!(home.all.get(&home.path, "s1", 1 << 20).unwrap().is_none(), "the header is no message");
}

#[test]
fn titles_and_previews_show_what_was_said_and_nothing_that_was_put_in() {
    let home = Home::new();
    let append = |message: Value| drop(home.all.append(&home.path, &header(), NewEntry::message(message, AT)).unwrap());
    append(message::user("[Sat 2026-11-21 07:00 UTC] df -h\n[message_id: 1]", AT));
    append(json!({ "role": "assistant", "content": [{ "type": "toolCall", "id": "c", "name": "exec", "arguments": {} }] }));
    append(json!({ "role": "toolResult", "toolCallId": "c", "toolName": "exec", "content": [{ "type": "text", "text": "90%" }] }));
    let making = message::Making { api: "a", provider: "p", model: "m", stop_reason: "stop", error: None };
    append(message::assistant(&"It is full. ".repeat(40), &making, AT));
    assert_eq!(home.all.first_user_text(&home.path, 8192).unwrap().unwrap(), "df -h");
    assert!(home.all.last_text(&home.path, 16384).unwrap().unwrap().starts_with("It is full."));
    let items = home.all.preview(&home.path, 10, 20).unwrap().unwrap();
    let expected = [("user", "df -h"), ("tool", "call exec"), ("tool", "90%"), ("assistant", "It is full. It is f…")];
    assert_eq!(items, expected.map(|(role, text)| Item { role, text: text.to_owned() }));
    assert_eq!(home.all.preview(&home.path, 2, 20).unwrap().unwrap().len(), 2);
}

#[test]
fn titles_come_from_the_beginning_of_very_long_messages_too() {
    let home = Home::new();
    home.say(&format!("start {}", "x".repeat(1 << 20)));
    assert!(home.all.first_user_text(&home.path, 8192).unwrap().unwrap().starts_with("start xxx"));
    assert!(home.all.last_text(&home.path, 16384).unwrap().unwrap().starts_with("start xxx"));
    assert!(home.all.preview(&home.path, 1, 50).unwrap().unwrap()[0].text.starts_with("start xxx"));
}

#[test]
fn defect_10_compaction_keeps_the_header_and_calls_with_their_results() {
    let home = Home::new();
    home.say("old");
    let append = |message: Value| home.all.append(&home.path, &header(), NewEntry::message(message, AT)).unwrap();
    home.say("question");
    append(json!({ "role": "assistant", "content": [{ "type": "toolCall", "id": "c", "name": "exec", "arguments": {} }] }));
    append(json!({ "role": "toolResult", "toolCallId": "c", "content": [{ "type": "text", "text": "90%" }] }));
    append(json!({ "role": "assistant", "content": "done" }));
    let before = home.lines();
    let Compacted::Done(3, archived) = home.all.compact(&home.path, 2, &header(), AT).unwrap() else { panic!("not compacted") };
    assert_eq!(archived.file_name().unwrap(), "s1.jsonl.bak.2026-11-20T00-00-00.000Z");
    let after = home.lines();
    assert_eq!(after.len(), 4);
    assert_eq!((&after[0], &after[2], &after[3]), (&before[0], &before[4], &before[5]));
    assert_eq!((after[1]["parentId"].clone(), &after[1]["id"]), (Value::Null, &before[3]["id"]));
    assert_eq!(fs::read_to_string(archived).unwrap().lines().count(), 6);
    assert_eq!(home.say("next").seq, 4);
    assert_eq!(home.lines()[4]["parentId"], before[5]["id"]);
    assert_eq!(home.path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(home.all.compact(&home.path, 400, &header(), AT).unwrap(), Compacted::Short(4));
}

#[test]
fn compaction_makes_one_chain_of_a_file_without_header_ids_or_parents() {
    let home = Home::new();
    let old = r#"{"type":"message","message":{"role":"user","content":"x"},"extra":[1]}"#;
    let inject = r#"{"type":"message","id":"i","message":{"role":"assistant","content":"y"}}"#;
    home.write(format!("{old}\n{old}\n{inject}\ngarbage\n{old}\n").as_bytes());
    assert!(matches!(home.all.compact(&home.path, 3, &header(), AT).unwrap(), Compacted::Done(3, _)));
    let lines = home.lines();
    assert_eq!((lines[0]["type"].as_str(), lines[0]["id"].as_str(), lines.len()), (Some("session"), Some("s1"), 4));
    assert!(lines.windows(2).skip(1).all(|pair| pair[1]["parentId"] == pair[0]["id"] && pair[0]["id"].is_string()));
    assert_eq!(lines[3]["extra"], json!([1]));
}

#[test]
fn archives_never_overwrite_each_other_and_a_new_file_begins() {
    let home = Home::new();
    home.say("one");
    let first = home.all.archive(&home.path, "reset", AT).unwrap().unwrap();
    home.say("two");
    let second = home.all.archive(&home.path, "reset", AT).unwrap().unwrap();
    assert_ne!(first, second);
    assert!(first.exists() && second.exists() && !home.path.exists());
    assert_eq!(home.say("three").seq, 1);
    assert_eq!(home.texts(), ["three"]);
}

#[test]
fn what_others_append_meanwhile_is_followed() {
    let home = Home::new();
    home.say("ours");
    let theirs = r#"{"type":"message","id":"theirs00","parentId":null,"message":{"role":"user","content":"theirs"}}"#;
    let text = fs::read_to_string(&home.path).unwrap() + theirs + "\n";
    home.write(text.as_bytes());
    home.say("ours again");
    assert_eq!(home.lines()[3]["parentId"], "theirs00");
}

#[test]
fn the_newest_page_of_a_long_transcript_reads_only_the_end() {
    let home = Home::new();
    home.say("first");
    let line = |n: usize| {
        let parent = if n == 0 { Value::Null } else { json!(format!("{:08x}", n - 1)) };
        let message = json!({ "role": "assistant", "content": [{ "type": "text", "text": "x".repeat(2000) }] });
        format!("{}\n", json!({ "type": "message", "id": format!("{n:08x}"), "parentId": parent, "message": message }))
    };
    let text: String = (0..10_000).map(line).collect();
    // Were it read, the hole in front would take long and be damage.
    let file = fs::OpenOptions::new().write(true).open(&home.path).unwrap();
    file.set_len(1 << 34).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, format!("\n{text}").as_bytes(), 1 << 34).unwrap();
    let page = home.all.page(&home.path, Query { limit: 200, offset: 0, max_bytes: 6 << 20, numbered: false }).unwrap();
    assert_eq!((page.rows.len(), page.has_more, page.damaged), (200, true, 0));
    assert_eq!(home.all.last_text(&home.path, 16384).unwrap().unwrap().len(), 2000);
}
