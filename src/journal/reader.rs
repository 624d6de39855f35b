//! Reads a journal from a cursor, line by line, while somebody may be appending to it.
//!
//! Only whole lines are given out: the end of the file may be half a line in the making, so reading stops at the last newline. Positions are offsets, so a reader shares nothing with others.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;

use super::line::{is_terminal, seq_of};

/// How much is read at a time while looking for a place, in bytes.
const STEP: usize = 256 * 1024;
/// A line that is longer than this, in bytes, is damage.
const MAX_LINE: usize = 64 * 1024 * 1024;

/// One line of a journal: the payload of one `agent` event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the run.
    pub seq: u64,
    /// The JSON text, without the newline.
    pub bytes: Bytes,
    /// Whether it is the run's last.
    pub terminal: bool,
}

/// A cursor in a journal.
#[derive(Debug)]
pub struct Reader {
    file: File,
    offset: u64,
    seq: u64,
}

impl Reader {
    /// A cursor before the first line.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, offset: 0, seq: 0 })
    }

    /// A cursor before the first line of a journal that is open already.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, offset: 0, seq: 0 }
    }

    /// `seq` of the line before the cursor.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Where the cursor stands, in bytes from the start of the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Puts the cursor behind line `after`, or behind the last whole line if there are fewer, and returns the `seq` it stands behind.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn seek_seq(&mut self, after: u64) -> io::Result<u64> {
        if after < self.seq {
            (self.offset, self.seq) = (0, 0);
        }
        let mut buffer = vec![0; STEP];
        let mut scanned = self.offset;
        while self.seq < after {
            let n = self.file.read_at(&mut buffer, scanned)?;
            let read = buffer.get(..n).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            for at in newlines(read).take(usize::try_from(after - self.seq).unwrap_or(usize::MAX)) {
                self.seq += 1;
                self.offset = scanned + at as u64 + 1;
            }
            scanned += n as u64;
        }
        Ok(self.seq)
    }

    /// The whole lines behind the cursor, about `max_bytes` of them but at least one if there is one, and moves the cursor behind them. Empty at the end.
    ///
    /// # Errors
    /// If the file cannot be read, or a line has not the number that its place demands (`InvalidData`).
    pub fn read_after(&mut self, max_bytes: usize) -> io::Result<Vec<Line>> {
        let Some(block) = self.read_block(max_bytes.max(1))? else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        let mut start = 0;
        for end in newlines(&block) {
            let bytes = block.slice(start..end);
            let expected = self.seq + 1;
            if seq_of(&bytes) != Some(expected) {
                // What stands before the damage is given out; the next call meets it.
                if !lines.is_empty() {
                    break;
                }
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("line {expected} of the journal is damaged")));
            }
            self.seq = expected;
            self.offset += (end + 1 - start) as u64;
            start = end + 1;
            lines.push(Line { seq: expected, terminal: is_terminal(&bytes), bytes });
        }
        Ok(lines)
    }

    /// Bytes from the cursor to the last newline within `max_bytes`, or to the first one if that lies farther.
    fn read_block(&self, max_bytes: usize) -> io::Result<Option<Bytes>> {
        let available = usize::try_from(self.file.metadata()?.len().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let mut size = max_bytes.min(available);
        while size > 0 {
            let mut block = vec![0; size];
            let mut filled = 0;
            while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match self.file.read_at(rest, self.offset + filled as u64)? {
                    0 => break,
                    n => filled += n,
                }
            }
            block.truncate(filled);
            if let Some(last) = block.iter().rposition(|&byte| byte == b'\n') {
                block.truncate(last + 1);
                return Ok(Some(Bytes::from(block)));
            }
            if size == available || size >= MAX_LINE {
                return Ok(None);
            }
            size = size.saturating_mul(4).min(available);
        }
        Ok(None)
    }
}

fn newlines(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::scan::tests::sample_lines;
    use std::fs;
    use std::io::Write as _;

    fn journal(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn every_growth_of_the_file_gives_each_line_once_and_only_whole() {
        let bytes = sample_lines().concat();
        for cut in 0..=bytes.len() {
            let (_dir, path) = journal(&bytes[..cut]);
            let mut reader = Reader::open(&path).unwrap();
            let mut got = reader.read_after(usize::MAX).unwrap();
            fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&bytes[cut..]).unwrap();
            got.extend(reader.read_after(usize::MAX).unwrap());
            assert_eq!(got.iter().map(|l| (l.seq, l.terminal)).collect::<Vec<_>>(), [(1, false), (2, false), (3, true)]);
            let joined: Vec<u8> = got.iter().flat_map(|l| l.bytes.iter().copied().chain([b'\n'])).collect();
            assert_eq!(joined, bytes);
            assert_eq!(reader.read_after(10).unwrap(), []);
            assert_eq!((reader.seq(), reader.offset()), (3, bytes.len() as u64));
        }
    }

    #[test]
    fn a_small_limit_still_moves_on_by_one_line() {
        let (_dir, path) = journal(&sample_lines().concat());
        let mut reader = Reader::open(&path).unwrap();
        let sizes: Vec<usize> = (0..4).map(|_| reader.read_after(1).unwrap().len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 3);
        assert!(sizes[..1].iter().all(|n| *n >= 1));
    }

    #[test]
    fn seeking_stands_behind_the_line_or_behind_the_last() {
        let (_dir, path) = journal(&[&sample_lines().concat()[..], b"{\"half"].concat());
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.seek_seq(2).unwrap(), 2);
        assert_eq!(reader.read_after(usize::MAX).unwrap()[0].seq, 3);
        assert_eq!(reader.seek_seq(0).unwrap(), 0);
        assert_eq!(reader.read_after(usize::MAX).unwrap().len(), 3);
        assert_eq!(reader.seek_seq(99).unwrap(), 3);
        assert_eq!(reader.read_after(usize::MAX).unwrap(), []);
    }

    #[test]
    fn a_line_with_the_wrong_number_is_refused() {
        let lines = sample_lines();
        let (_dir, path) = journal(&[&lines[0][..], &lines[2]].concat());
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.read_after(usize::MAX).unwrap().len(), 1, "what stands before the damage is given out");
        assert_eq!(reader.read_after(usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
