//! Finds the valid part of a journal: whole lines that parse, with the right run, `seq` = previous + 1, and nothing after a terminal line.
//!
//! Everything behind that is a torn tail: half a line of a killed writer, zeros of a power cut, or foreign bytes. It is never fatal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::line::{Facts, seq_of};
use crate::protocol::event::agent::{HostProcess, Lifecycle};
use crate::protocol::ids::RunId;
use crate::protocol::run::Outcome;

/// No line of ours is longer, in bytes; a longer one is damage and must not fill the memory.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// What a journal holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// `seq` of the last valid line, 0 if there is none.
    pub head: u64,
    /// Length of the valid part in bytes.
    pub len: u64,
    /// Length of the file in bytes; more than `len` if there is a torn tail.
    pub file_len: u64,
    /// Whether the tail holds a whole line, which half a write cannot explain: something damaged the file.
    pub damaged: bool,
    /// When the work started, ms since the epoch.
    pub started_at: Option<u64>,
    /// The process that hosts or hosted the run, from the first line.
    pub host: Option<HostProcess>,
    /// How the run ended, if the last valid line says so.
    pub outcome: Option<Outcome>,
}

impl Scan {
    /// Whether no line was ever written: the work never started. A damaged first line with others behind it says the opposite.
    #[must_use]
    pub fn never_started(&self) -> bool {
        self.head == 0 && !self.damaged
    }
}

/// Scans the journal at `path`. A file that does not exist counts as empty.
///
/// # Errors
/// If the file cannot be read.
pub fn scan_path(path: &Path, run_id: &RunId) -> io::Result<Scan> {
    match File::open(path) {
        Ok(mut file) => scan(&mut file, run_id),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Scan::default()),
        Err(failed) => Err(failed),
    }
}

/// Scans an open journal from its start.
///
/// # Errors
/// If the file cannot be read.
pub fn scan(file: &mut File, run_id: &RunId) -> io::Result<Scan> {
    let file_len = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut found = Scan { file_len, ..Scan::default() };
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(found);
        }
        if !found.accept(&line, run_id) {
            found.damaged = line.ends_with(b"\n");
            return Ok(found);
        }
        found.len += n as u64;
    }
}

impl Scan {
    /// Takes the next line, with its newline, if it is valid.
    fn accept(&mut self, line: &[u8], run_id: &RunId) -> bool {
        let Some(line) = line.strip_suffix(b"\n") else { return false };
        let Some(facts) = Facts::read(line) else { return false };
        if self.outcome.is_some() || facts.run_id != run_id.as_str() || facts.seq != self.head + 1 {
            return false;
        }
        // Readers find the number without parsing the line; where they would not find it, the line is none of ours.
        if seq_of(line) != Some(facts.seq) {
            return false;
        }
        match facts.lifecycle() {
            None => {}
            Some(None) => return false,
            Some(Some(Lifecycle::Start { started_at, host })) => {
                self.started_at = Some(started_at);
                self.host = Some(host);
            }
            Some(Some(end)) => self.outcome = end.into_outcome(),
        }
        self.head = facts.seq;
        true
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::journal::line::{Chunk, Template};
    use crate::protocol::event::agent::{Source, Stream};
    use crate::protocol::run::RunStatus;
    use std::io::Write as _;

    /// The lines of a small run, the last one terminal.
    pub(crate) fn sample_lines() -> Vec<Vec<u8>> {
        let template = Template::new("r".into(), "agent:main:main".into());
        let host = HostProcess { v: 1, pid: 5, start_ticks: 6, boot_id: "b".into() };
        let start = serde_json::to_value(Lifecycle::Start { started_at: 4, host }).unwrap();
        let end = Outcome::without_work(RunStatus::Ok, None, "done", 9);
        let mut chunk = Vec::new();
        template.chunk(2, 5, &Chunk { source: Source::Stdout, tool_call_id: "c", text: "hi\n", dropped_bytes: None }, &mut chunk);
        vec![
            template.event(1, Stream::Lifecycle, 4, start).unwrap(),
            chunk,
            template.event(3, Stream::Lifecycle, 9, serde_json::to_value(Lifecycle::terminal(end)).unwrap()).unwrap(),
        ]
    }

    fn scan_bytes(bytes: &[u8]) -> Scan {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        scan(&mut file, &"r".into()).unwrap()
    }

    #[test]
    fn a_whole_journal_is_read_to_its_end() {
        let bytes = sample_lines().concat();
        let found = scan_bytes(&bytes);
        assert_eq!((found.head, found.len, found.file_len), (3, bytes.len() as u64, bytes.len() as u64));
        assert_eq!(found.outcome.unwrap().status, RunStatus::Ok);
        assert_eq!((found.host.unwrap().pid, found.started_at), (5, Some(4)));
        assert!(!found.damaged);
    }

    #[test]
    fn m85_every_torn_tail_leaves_exactly_the_whole_lines() {
        let lines = sample_lines();
        let bytes = lines.concat();
        let ends: Vec<usize> = (0..=lines.len()).map(|n| lines[..n].concat().len()).collect();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            for tail in [&b""[..], &[0; 4096][..]] {
                let torn = [&bytes[..cut], tail].concat();
                let found = scan_bytes(&torn);
                assert_eq!((found.head as usize, found.len as usize), (whole, ends[whole]), "cut at {cut}");
                assert_eq!(found.outcome.is_some(), whole == 3);
                assert_eq!(found.file_len, torn.len() as u64);
            }
        }
    }

    #[test]
    fn m85_foreign_lines_end_the_valid_part_and_count_as_damage() {
        let lines = sample_lines();
        let foreign = String::from_utf8(lines[1].clone()).unwrap();
        for bad in [
            foreign.replace("\"runId\":\"r\"", "\"runId\":\"other\""),
            foreign.replace("\"seq\":2", "\"seq\":4"),
            foreign.replace("\"seq\":2", "\"seq\":1"),
            "\0\0\0\n".to_owned(),
            "{}\n".to_owned(),
            lines.get(2).map(|l| String::from_utf8(l.clone()).unwrap().replace("\"phase\":\"end\"", "\"phase\":\"odd\"")).unwrap(),
        ] {
            let found = scan_bytes(&[&lines[0][..], bad.as_bytes(), &lines[1]].concat());
            assert_eq!((found.head, found.len), (1, lines[0].len() as u64), "{bad}");
            assert!(found.damaged);
        }
    }

    #[test]
    fn m85_a_duplicated_block_after_the_end_is_not_taken() {
        let lines = sample_lines();
        let all = lines.concat();
        let found = scan_bytes(&[&all[..], &lines[1], &lines[2]].concat());
        assert_eq!((found.head, found.len), (3, all.len() as u64));
    }

    #[test]
    fn m86_a_flipped_structural_byte_keeps_what_stands_before_it() {
        let lines = sample_lines();
        let mut bytes = lines.concat();
        bytes[lines[0].len()] ^= 0x01;
        let found = scan_bytes(&bytes);
        assert_eq!(found.head, 1);
        assert!(found.damaged);
        bytes[0] ^= 0x01;
        let found = scan_bytes(&bytes);
        assert_eq!((found.head, found.never_started()), (0, false), "there were lines, so the work may have run");
    }

    #[test]
    fn a_missing_or_empty_file_never_started() {
        assert!(scan_path(Path::new("/nonexistent/j"), &"r".into()).unwrap().never_started());
        assert!(scan_bytes(b"").never_started());
    }
}
