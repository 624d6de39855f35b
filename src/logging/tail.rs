//! Reading the log file from a cursor, for `logs.tail`.
//!
//! A cursor is an offset behind a whole line. One that is past the end, or not behind a line, is of a file that was turned over since: then the reading begins anew at the file's tail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Where the next reading begins.
    pub cursor: u64,
    /// Size of the file.
    pub size: u64,
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// There are older lines that were not wanted.
    pub truncated: bool,
    /// The cursor was of another file; these lines do not continue what was read before.
    pub reset: bool,
}

/// At most `limit` lines and `max_bytes` from `cursor` on, the newest of them; without a cursor the file's tail. A file that is not there is empty.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path, cursor: Option<u64>, limit: usize, max_bytes: u64) -> io::Result<Slice> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Slice { reset: cursor.is_some_and(|cursor| cursor > 0), ..Slice::default() });
        }
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    let reset = match cursor {
        Some(cursor) => cursor > size || !is_behind_line(&file, cursor)? || size - cursor > max_bytes,
        None => false,
    };
    let oldest = size.saturating_sub(max_bytes);
    let start = cursor.filter(|_| !reset).unwrap_or(oldest);
    let text = range(&file, start, size)?;
    // What stands behind the last newline is half a line in the making; the next reading begins before it.
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole = text.get(..end).unwrap_or_default();
    let first = if is_behind_line(&file, start)? { 0 } else { whole.iter().position(|byte| *byte == b'\n').map_or(end, |at| at + 1) };
    let mut lines: Vec<String> = whole
        .get(first..)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    // Behind the last newline there is nothing.
    lines.pop();
    let surplus = lines.len().saturating_sub(limit);
    lines.drain(..surplus);
    let truncated = surplus > 0 || (start > 0 && (cursor.is_none() || reset));
    Ok(Slice { cursor: start + end as u64, size, lines, truncated, reset })
}

fn is_behind_line(file: &File, offset: u64) -> io::Result<bool> {
    let Some(before) = offset.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    Ok(file.read_at(&mut byte, before)? == 1 && byte == *b"\n")
}

fn range(file: &File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut text = vec![0; usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?];
    let mut filled = 0;
    while let Some(rest) = text.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, start + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    text.truncate(filled);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 1 << 20;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_cursor_brings_what_came_since_and_never_half_a_line() {
        let (_dir, path) = file("a\nb\nhal");
        let first = read(&path, None, 10, ALL).unwrap();
        assert_eq!(
            (first.lines, first.cursor, first.size, first.truncated, first.reset),
            (vec!["a".into(), "b".into()], 4, 7, false, false)
        );
        std::fs::write(&path, "a\nb\nhalf\nc\n").unwrap();
        let next = read(&path, Some(4), 10, ALL).unwrap();
        assert_eq!((next.lines, next.cursor, next.reset), (vec!["half".into(), "c".into()], 11, false));
        let none = read(&path, Some(11), 10, ALL).unwrap();
        assert_eq!((none.lines.len(), none.cursor, none.truncated), (0, 11, false));
    }

    #[test]
    fn the_newest_lines_are_given_and_it_is_said_that_there_are_more() {
        let (_dir, path) = file("one\ntwo\nthree\n");
        let few = read(&path, None, 2, ALL).unwrap();
        assert_eq!((few.lines, few.truncated), (vec!["two".into(), "three".into()], true));
        let small = read(&path, None, 10, 8).unwrap();
        assert_eq!((small.lines, small.truncated, small.cursor), (vec!["three".into()], true, 14));
        let far = read(&path, Some(0), 10, 8).unwrap();
        assert_eq!((far.lines, far.truncated, far.reset), (vec!["three".into()], true, true));
    }

    #[test]
    fn a_cursor_of_a_file_that_was_turned_over_begins_anew() {
        let (_dir, path) = file("short\n");
        for stale in [7, 3] {
            let slice = read(&path, Some(stale), 10, ALL).unwrap();
            assert_eq!((slice.lines, slice.reset, slice.cursor), (vec!["short".into()], true, 6), "{stale}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&path, Some(6), 10, ALL).unwrap(), Slice { reset: true, ..Slice::default() });
        assert_eq!(read(&path, None, 10, ALL).unwrap(), Slice::default());
    }

    #[test]
    fn a_line_longer_than_the_window_gives_no_part_of_it() {
        let (_dir, path) = file(&format!("{}\n", "x".repeat(100)));
        let slice = read(&path, None, 10, 10).unwrap();
        assert_eq!((slice.lines.len(), slice.cursor, slice.truncated), (0, 101, true));
        std::fs::write(&path, b"\xff\xfe\n").unwrap();
        assert_eq!(read(&path, None, 10, 10).unwrap().lines, ["\u{fffd}\u{fffd}"]);
    }
}
