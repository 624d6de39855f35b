//! Appends to a journal. The only writer while a run lives is its shim, which got the open and locked file from the daemon.
//!
//! A line is whole or not there: when the disk fills in the middle of one, the file is cut back to the last boundary and the number is given back.
//! A little room is set aside ahead of the writing position, so that output can fill a disk and the terminal line still fits.

use std::fs::File;
use std::io::{self, Write as _};

use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value;

use super::line::{Chunk, Template};
use crate::protocol::event::agent::Stream;

/// Room that only lines other than output may use, in bytes: enough for a result and a terminal line.
const RESERVE: u64 = 16 * 1024;
/// Room set aside at a time once there is much output.
const RESERVE_STEP: u64 = 1024 * 1024;

/// The writing end of a journal.
#[derive(Debug)]
pub struct Writer {
    file: File,
    template: Template,
    seq: u64,
    len: u64,
    /// Blocks are set aside up to here; `None` where the file system cannot.
    reserved: Option<u64>,
    scratch: Vec<u8>,
    broken: bool,
}

impl Writer {
    /// Takes over an empty journal. `file` is open for appending and locked.
    ///
    /// # Errors
    /// If the file has content already (work that may have run is never run again) or cannot be looked at.
    pub fn new(file: File, template: Template) -> io::Result<Self> {
        if file.metadata()?.len() != 0 {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the journal has content"));
        }
        Ok(Self::resume(file, template, 0, 0))
    }

    /// Goes on after `seq` lines and `len` bytes that are known to be good.
    #[must_use]
    pub fn resume(file: File, template: Template, seq: u64, len: u64) -> Self {
        Self { file, template, seq, len, reserved: Some(len), scratch: Vec::new(), broken: false }
    }

    /// Number of the last line.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Length in bytes; always a boundary between lines.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends one event other than output and returns its `seq`.
    ///
    /// # Errors
    /// If the line cannot be written whole; the journal is then as before.
    pub fn event(&mut self, stream: Stream, ts: u64, data: Value) -> io::Result<u64> {
        self.reserve(0);
        let line = self.template.event(self.seq + 1, stream, ts, data)?;
        self.append(&line)
    }

    /// Appends a chunk of output and returns the length of its line in bytes.
    ///
    /// # Errors
    /// If the line cannot be written whole, or only the room kept for the end of the run is left; the journal is then as before and the caller counts the chunk as dropped.
    pub fn chunk(&mut self, ts: u64, chunk: &Chunk<'_>) -> io::Result<u64> {
        let mut line = std::mem::take(&mut self.scratch);
        line.clear();
        self.template.chunk(self.seq + 1, ts, chunk, &mut line);
        let size = line.len() as u64;
        let written = if self.reserve(size) { self.append(&line) } else { Err(io::ErrorKind::StorageFull.into()) };
        self.scratch = line;
        written.map(|_| size)
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// If the disk refuses; what was written may then be lost.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives the room that was set aside back to the file system. The last act of a writer.
    ///
    /// # Errors
    /// If the file cannot be cut, which does no harm.
    pub fn release(&self) -> io::Result<()> {
        self.file.set_len(self.len)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<u64> {
        if self.broken {
            return Err(io::Error::other("the journal could not be repaired after a failed write"));
        }
        if let Err(failed) = (&self.file).write_all(line) {
            // A part of the line may be in the file; without the cut the next line would be glued to it.
            self.broken = self.file.set_len(self.len).is_err();
            self.reserved = self.reserved.map(|_| self.len);
            return Err(failed);
        }
        self.seq += 1;
        self.len += line.len() as u64;
        Ok(self.seq)
    }

    /// Sets room aside for `size` more bytes and the reserve. Returns false if the disk has no room left for that.
    fn reserve(&mut self, size: u64) -> bool {
        let Some(reserved) = self.reserved else { return true };
        let wanted = self.len + size + RESERVE;
        if wanted <= reserved {
            return true;
        }
        let step = if size == 0 { 0 } else { RESERVE_STEP.min(self.len) };
        for target in [wanted + step, wanted] {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, reserved, target - reserved) {
                Ok(()) => {
                    self.reserved = Some(target);
                    return true;
                }
                Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG) => {}
                Err(_) => {
                    self.reserved = None;
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::agent::Source;
    use serde_json::json;

    fn writer(file: &File) -> Writer {
        Writer::new(file.try_clone().unwrap(), Template::new("r".into(), "s".into())).unwrap()
    }

    fn chunk(text: &str) -> Chunk<'_> {
        Chunk { source: Source::Stdout, tool_call_id: "c", text, dropped_bytes: None }
    }

    #[test]
    fn lines_are_numbered_from_one_without_holes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let file = File::options().create(true).append(true).open(&path).unwrap();
        let mut writer = writer(&file);
        assert_eq!(writer.event(Stream::Tool, 1, json!({})).unwrap(), 1);
        writer.chunk(1, &chunk("hi")).unwrap();
        assert_eq!(writer.event(Stream::Tool, 1, json!({})).unwrap(), 3);
        writer.release().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len() as u64, writer.len());
        assert_eq!(text.lines().map(|l| super::super::line::seq_of(l.as_bytes()).unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_journal_with_content_is_never_taken_over() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        let refused = Writer::new(file, Template::new("r".into(), "s".into())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_write_that_fails_gives_its_number_back() {
        // A file opened for reading refuses every write, as a full disk does.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        File::create(&path).unwrap();
        let mut writer = writer(&File::open(&path).unwrap());
        assert!(writer.event(Stream::Tool, 1, json!({})).is_err());
        assert_eq!((writer.seq(), writer.len()), (0, 0));
    }
}
