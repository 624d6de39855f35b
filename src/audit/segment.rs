//! The files of the log: `000001.jsonl`, `000002.jsonl` … Only ever appended to; a file that is finished is never touched again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Head;
use super::record::{self, MAX_LINE};
use crate::transcript::backward::Backward;

/// What the name of a segment ends with.
const ENDING: &str = ".jsonl";
/// Digits of a segment's number.
const DIGITS: usize = 6;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Its number, from 1 on.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Segment {
    /// The segment of this number.
    #[must_use]
    pub fn new(dir: &Path, number: u64) -> Self {
        Self { number, path: dir.join(format!("{number:0width$}{ENDING}", width = DIGITS)) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The segments of a directory in their order.
///
/// # Errors
/// The directory cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(ENDING)).filter(|digits| digits.len() >= DIGITS);
        if let Some(number) = digits.and_then(|digits| digits.parse().ok()) {
            found.push(Segment { number, path: dir.join(&name) });
        }
    }
    found.sort();
    Ok(found)
}

/// The end of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Its last whole record, and whether that is a seal.
    pub last: Option<(Head, bool)>,
    /// Where that record ends, in bytes from the start.
    pub good: u64,
    /// How long the file is. What is between is no whole record.
    pub len: u64,
}

/// Looks for the last whole record of a segment.
///
/// # Errors
/// It cannot be read.
pub fn tail(path: &Path) -> io::Result<Tail> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut lines = Backward::new(&file, len, MAX_LINE);
    while let Some(line) = lines.previous()? {
        if !line.ended || !line.is_whole() {
            continue;
        }
        if let Ok((record, hash)) = record::read(&line.bytes) {
            let sealed = record.action == super::Action::Seal.name();
            return Ok(Tail { last: Some((Head { n: record.n, hash }, sealed)), good: line.offset + line.len + 1, len });
        }
    }
    Ok(Tail { last: None, good: 0, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_listed_by_number_and_strangers_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["000010.jsonl", "000002.jsonl", "head.json", "x.jsonl", "1.jsonl", "1000000.jsonl"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let numbers: Vec<u64> = list(dir.path()).unwrap().into_iter().map(|segment| segment.number).collect();
        assert_eq!(numbers, [2, 10, 1_000_000]);
        assert_eq!(Segment::new(dir.path(), 2), list(dir.path()).unwrap()[0]);
    }
}
