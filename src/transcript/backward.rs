//! Reads the lines of a file from its end to its beginning in blocks, so that the newest entries cost the same whatever the length of the file.
//!
//! A line longer than the caller can use is passed over with only its beginning in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Most that is read at a time while lines are short, in bytes; doubled while one line is longer.
const BLOCK: usize = 64 * 1024;
/// How much of a passed-over line is kept, in bytes: room for what stands before the content.
const HEAD: u64 = 16 * 1024;

/// One line of the file, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The line, or its beginning if it is longer than asked for.
    pub bytes: Vec<u8>,
    /// Whether a newline ends it; only the last line of a file can lack one.
    pub ended: bool,
}

impl Line {
    /// Whether all of it is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.len
    }
}

/// A cursor that starts behind the last line.
#[derive(Debug)]
pub struct Backward<'f> {
    file: &'f File,
    /// What was read and not given out: the bytes of the file from `start` on.
    held: Vec<u8>,
    start: u64,
    max_line: usize,
    block: usize,
    ended: bool,
    done: bool,
}

impl<'f> Backward<'f> {
    /// A cursor behind the byte `end` of the file. Lines longer than `max_line` come with their beginning only.
    #[must_use]
    pub fn new(file: &'f File, end: u64, max_line: usize) -> Self {
        Self { file, held: Vec::new(), start: end, max_line, block: max_line.clamp(4096, BLOCK), ended: false, done: end == 0 }
    }

    /// The line before the cursor; none at the beginning of the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn previous(&mut self) -> io::Result<Option<Line>> {
        if self.done {
            return Ok(None);
        }
        if !self.ended && self.held.is_empty() {
            self.fetch()?;
            // The newline at the very end ends the last line; there is no empty line behind it.
            self.ended = self.held.pop_if(|byte| *byte == b'\n').is_some();
        }
        let mut clean = 0;
        loop {
            // What was searched before stands at the end and holds no newline.
            let unsearched = self.held.len() - clean;
            if let Some(at) = self.held.get(..unsearched).and_then(|held| memchr::memrchr(b'\n', held)) {
                let bytes = self.held.split_off(at + 1);
                self.held.truncate(at);
                let line = Line { offset: self.start + at as u64 + 1, len: bytes.len() as u64, bytes, ended: self.ended };
                self.ended = true;
                return Ok(Some(line));
            }
            if self.start == 0 {
                self.done = true;
                let bytes = std::mem::take(&mut self.held);
                return Ok(Some(Line { offset: 0, len: bytes.len() as u64, bytes, ended: self.ended }));
            }
            if self.held.len() > self.max_line {
                return self.pass_over().map(Some);
            }
            clean = self.held.len();
            self.fetch()?;
        }
    }

    /// Reads the block before `start`, at least as much as is held, so that a long line is copied seldom.
    fn fetch(&mut self) -> io::Result<()> {
        let size = (self.held.len().max(self.block) as u64).min(self.start);
        let at = self.start - size;
        let mut block = vec![0; usize::try_from(size).unwrap_or(BLOCK)];
        self.file.read_exact_at(&mut block, at)?;
        block.append(&mut self.held);
        self.held = block;
        self.start = at;
        Ok(())
    }

    /// Finds the beginning of a line that is too long to hold.
    fn pass_over(&mut self) -> io::Result<Line> {
        let end = self.start + self.held.len() as u64;
        self.held = Vec::new();
        let mut block = vec![0; 4 * BLOCK];
        let begin = loop {
            if self.start == 0 {
                self.done = true;
                break 0;
            }
            let size = (block.len() as u64).min(self.start);
            let part = block.get_mut(..usize::try_from(size).unwrap_or(BLOCK)).unwrap_or_default();
            self.file.read_exact_at(part, self.start - size)?;
            self.start -= size;
            if let Some(at) = memchr::memrchr(b'\n', part) {
                self.held = part.get(..at).unwrap_or_default().to_vec();
                break self.start + at as u64 + 1;
            }
        };
        let mut head = vec![0; usize::try_from((end - begin).min(HEAD)).unwrap_or(0)];
        self.file.read_exact_at(&mut head, begin)?;
        let line = Line { offset: begin, len: end - begin, bytes: head, ended: self.ended };
        self.ended = true;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn all(bytes: &[u8], max_line: usize) -> Vec<Line> {
        let file = file(bytes);
        let mut cursor = Backward::new(&file, bytes.len() as u64, max_line);
        let mut lines: Vec<Line> = std::iter::from_fn(|| cursor.previous().unwrap()).collect();
        assert!(cursor.previous().unwrap().is_none());
        lines.reverse();
        lines
    }

    /// The same, read forwards.
    fn plainly(bytes: &[u8]) -> Vec<Line> {
        let (mut lines, mut offset) = (Vec::new(), 0);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = piece.ends_with(b"\n");
            let line = piece.strip_suffix(b"\n").unwrap_or(piece).to_vec();
            lines.push(Line { offset, len: line.len() as u64, bytes: line, ended });
            offset += piece.len() as u64;
        }
        lines
    }

    #[test]
    fn small_files_of_every_shape_give_their_lines() {
        for text in ["", "\n", "a", "a\n", "a\nb", "a\nb\n", "\n\n", "\na\n\nb"] {
            assert_eq!(all(text.as_bytes(), 1), plainly(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn lines_across_blocks_come_whole_and_long_ones_by_their_beginning() {
        for size in [BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 9 * BLOCK + 7] {
            let long: Vec<u8> = (0..size).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
            let bytes = [b"first\n".as_slice(), &long, b"\nlast\n"].concat();
            assert_eq!(all(&bytes, usize::MAX), plainly(&bytes), "{size}");
            let short = all(&bytes, BLOCK);
            assert_eq!(
                short.iter().map(|line| (line.offset, line.len, line.ended)).collect::<Vec<_>>(),
                plainly(&bytes).iter().map(|line| (line.offset, line.len, line.ended)).collect::<Vec<_>>()
            );
            assert!(long.starts_with(&short[1].bytes) && (short[1].is_whole() || size > BLOCK));
        }
    }

    #[test]
    fn a_passed_over_line_at_the_very_beginning_ends_the_file() {
        let long = vec![b'x'; 12 * BLOCK];
        let lines = all(&[&long[..], b"\ny"].concat(), BLOCK);
        assert_eq!((lines.len(), lines[0].len, lines[0].bytes.len() as u64), (2, long.len() as u64, HEAD));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn backwards_is_forwards_reversed(lengths in proptest::collection::vec(0..3 * BLOCK, 0..6), newline in proptest::bool::ANY) {
            let mut bytes = lengths.iter().map(|length| vec![b'x'; *length]).collect::<Vec<_>>().join(&b'\n');
            if newline { bytes.push(b'\n'); }
            proptest::prop_assert_eq!(all(&bytes, usize::MAX), plainly(&bytes));
        }
    }
}
