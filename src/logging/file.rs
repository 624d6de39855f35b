//! The log file: appended to, turned over when it is full, opened again when it was taken away.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many full files are kept beside the one that is written.
const KEPT: u32 = 2;
/// Records that are kept until there is a file.
const EARLY: usize = 256;
/// Pause after a failed write before the file is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The file, or what waits for it.
#[derive(Default)]
pub struct LogFile {
    early: Vec<Vec<u8>>,
    place: Option<Place>,
}

struct Place {
    path: PathBuf,
    max_bytes: u64,
    file: Option<File>,
    size: u64,
    failed: Option<Instant>,
    /// Records that could not be written since.
    lost: u64,
}

impl LogFile {
    /// Opens the file and writes what waited for it.
    ///
    /// # Errors
    /// The file or its directory cannot be made.
    pub fn open(&mut self, path: &Path, max_bytes: u64) -> io::Result<()> {
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut place = Place { path: path.to_owned(), max_bytes, file: None, size: 0, failed: None, lost: 0 };
        place.reopen()?;
        for record in self.early.drain(..) {
            place.write(&record);
        }
        self.place = Some(place);
        Ok(())
    }

    /// Appends a record, a whole line.
    pub fn write(&mut self, record: Vec<u8>) {
        match &mut self.place {
            Some(place) => place.write(&record),
            None if self.early.len() < EARLY => self.early.push(record),
            None => {}
        }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.place.as_ref().map(|place| place.path.clone())
    }
}

impl Place {
    /// Opens the file at its end. A link is not followed: a log must not be led into another file.
    fn reopen(&mut self) -> io::Result<()> {
        let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(nofollow).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, record: &[u8]) {
        if self.failed.is_some_and(|at| at.elapsed() < RETRY) {
            self.lost += 1;
            return;
        }
        match self.try_write(record) {
            Ok(()) => self.failed = None,
            Err(_) => {
                // There is nowhere to say so; the next record that is written does.
                (self.failed, self.file) = (Some(Instant::now()), None);
                self.lost += 1;
            }
        }
    }

    fn try_write(&mut self, record: &[u8]) -> io::Result<()> {
        let more = record.len() as u64;
        if self.size > 0 && self.size.saturating_add(more) > self.max_bytes {
            self.turn_over()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if self.lost > 0 {
            let note = format!("{{\"level\":\"error\",\"message\":\"{} records could not be written\"}}\n", self.lost);
            file.write_all(note.as_bytes())?;
            self.size += note.len() as u64;
            self.lost = 0;
        }
        // One write, so that a reader never sees half a line of a whole one.
        file.write_all(record)?;
        self.size += more;
        Ok(())
    }

    /// The full file becomes `.1`, that becomes `.2`, and so on; the oldest goes.
    fn turn_over(&mut self) -> io::Result<()> {
        self.file = None;
        for n in (1..KEPT).rev() {
            match std::fs::rename(self.kept(n), self.kept(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match std::fs::rename(&self.path, self.kept(1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.reopen(),
        }
    }

    fn kept(&self, n: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_turned_over_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/x.jsonl");
        let mut log = LogFile::default();
        log.write(b"early\n".to_vec());
        log.open(&path, 30).unwrap();
        for n in 0..12 {
            log.write(format!("record {n:02}\n").into_bytes());
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(read(&path), "record 11\n");
        assert_eq!(read(&dir.path().join("a/x.jsonl.1")), "record 08\nrecord 09\nrecord 10\n");
        assert_eq!(read(&dir.path().join("a/x.jsonl.2")), "record 05\nrecord 06\nrecord 07\n");
        assert!(!dir.path().join("a/x.jsonl.3").exists());
    }

    #[test]
    fn a_link_in_its_place_is_refused_and_an_existing_file_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("x"), dir.path().join("other"));
        std::fs::write(&other, "theirs\n").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        let mut log = LogFile::default();
        assert!(log.open(&path, 1 << 20).is_err());
        assert!(log.path().is_none());
        log.open(&other, 1 << 20).unwrap();
        log.write(b"ours\n".to_vec());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs\nours\n");
    }

    #[test]
    fn a_record_that_is_larger_than_the_file_may_be_is_written_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut log = LogFile::default();
        log.open(&path, 4).unwrap();
        log.write(b"long enough\n".to_vec());
        log.write(b"and more\n".to_vec());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "and more\n");
    }
}
