//! The bytes of a run's journal, as a crash, a full disk or a stranger may have left them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek as _, Write as _};

use skykoi_gateway::journal::line::{Facts, is_terminal, is_tool, seq_at, seq_of, without_results};
use skykoi_gateway::journal::reader::Reader;
use skykoi_gateway::journal::scan::{Scan, scan};
use skykoi_gateway::protocol::ids::RunId;

use super::{Target, none, outcome};

pub const TARGET: Target = Target {
    name: "journal",
    words: &[
        "\n",
        "{",
        "}",
        "\"runId\":\"r\"",
        "\"seq\":1",
        "\"seq\":2",
        "\"seq\":3",
        "\"seq\":18446744073709551615",
        "\"stream\":\"lifecycle\"",
        "\"stream\":\"exec\"",
        "\"stream\":\"tool\"",
        "\"data\":{",
        "\"phase\":\"start\"",
        "\"phase\":\"end\"",
        "\"status\":\"streaming\"",
        "\"text\":\"x\"",
        "\"sessionKey\":\"agent:main:main\"",
        "\\ud800",
        "\u{0}\u{0}\u{0}\u{0}",
        "\"droppedBytes\":",
        "\"ts\":",
    ],
    max: 16 * 1024,
    seeds: none,
    run,
};

thread_local! {
    static FILE: RefCell<File> = RefCell::new(tempfile::tempfile().unwrap());
}

fn scanned(bytes: &[u8]) -> Scan {
    FILE.with_borrow_mut(|file| {
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(bytes).unwrap();
        scan(file, &RunId::from("r")).unwrap()
    })
}

fn run(input: &[u8]) -> u64 {
    let found = scanned(input);
    assert!(found.len <= found.file_len && found.file_len == input.len() as u64);
    let valid = &input[..usize::try_from(found.len).unwrap()];
    assert!(valid.is_empty() || valid.ends_with(b"\n"), "only whole lines are valid");
    assert_eq!(valid.iter().filter(|byte| **byte == b'\n').count() as u64, found.head, "one line for each number");
    let again = scanned(valid);
    assert_eq!(
        (again.head, again.len, &again.outcome, again.damaged),
        (found.head, found.len, &found.outcome, false),
        "the valid part is valid"
    );
    // The file holds the valid part now: who follows a run reads from it exactly the lines that the scan counted.
    let lines = FILE.with_borrow_mut(|file| Reader::new(file.try_clone().unwrap()).read_after(usize::MAX / 2).unwrap());
    assert_eq!(lines.len() as u64, found.head);
    for line in input.split(|byte| *byte == b'\n') {
        look(line);
    }
    outcome((found.head.min(4), found.damaged, found.started_at.is_some(), found.outcome.map(|outcome| outcome.status)))
}

fn look(line: &[u8]) {
    if let Some(shown) = without_results(line) {
        assert!(Facts::read(line).is_none() || Facts::read(&shown).is_some(), "a line without results is a line");
    }
    // These look at single bytes and must bear any.
    let _ = (seq_of(line), is_terminal(line), is_tool(line, seq_at(&RunId::from("r"))));
}
