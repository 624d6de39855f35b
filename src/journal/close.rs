//! Gives a journal its terminal line when its shim cannot any more, exactly once however many try.
//!
//! The rule that makes it exact: take the lock first, read under the lock, cut the torn tail, append, sync. Nothing that was read before the lock decides anything.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::line::Template;
use super::scan::{Scan, scan};
use super::writer::Writer;
use crate::protocol::event::agent::{Lifecycle, Stream};
use crate::protocol::ids::{RunId, SessionKey};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};

/// What [`close`] found or did. The number is the journal's head, the `seq` of its terminal line.
#[derive(Clone, Debug, PartialEq)]
pub enum Closed {
    /// There was a terminal line; this is what it says.
    Already(Outcome, u64),
    /// There was none; now there is.
    Appended(Outcome, u64),
    /// Somebody holds the lock: the shim lives, or another closer is at work. For a moment after the shim's death it can also be a command that was just being started and has
    /// not reached its exec, so whoever knows that the shim is gone tries again shortly.
    Busy,
}

/// Closes a journal with `outcome`, unless it is closed. Creates it if it does not exist.
///
/// # Errors
/// If the file cannot be created, read or written; calling again is safe.
pub fn close(path: &Path, run_id: &RunId, session_key: &SessionKey, outcome: Outcome) -> io::Result<Closed> {
    close_with(path, run_id, session_key, |_| outcome)
}

/// Like [`close`], with an outcome that depends on what the journal holds, as read under the lock.
///
/// # Errors
/// As [`close`].
pub fn close_with(path: &Path, run_id: &RunId, session_key: &SessionKey, outcome: impl FnOnce(&Scan) -> Outcome) -> io::Result<Closed> {
    let mut file = open_journal(path)?;
    if !try_lock(&file)? {
        return Ok(Closed::Busy);
    }
    let found = scan(&mut file, run_id)?;
    if found.file_len > found.len {
        cut_tail(&mut file, path, &found)?;
    }
    if let Some(outcome) = found.outcome {
        return Ok(Closed::Already(outcome, found.head));
    }
    let outcome = outcome(&found);
    let mut writer = Writer::resume(file, Template::new(run_id.clone(), session_key.clone()), found.head, found.len);
    let data = serde_json::to_value(Lifecycle::terminal(outcome.clone()))?;
    let head = writer.event(Stream::Lifecycle, outcome.ended_at, data)?;
    writer.sync()?;
    // Room that the lost writer had set aside goes back to the disk; if that fails, nothing is wrong.
    let _ = writer.release();
    Ok(Closed::Appended(outcome, head))
}

/// The outcome of a run whose shim or machine died, from what its journal holds. `now_ms` is the time of the finding, ms since the epoch.
#[must_use]
pub fn interrupted(found: &Scan, now_ms: u64) -> Outcome {
    let summary = if found.never_started() { "interrupted before it started" } else { "interrupted: its host process was lost" };
    Outcome {
        started_at: found.started_at,
        duration_ms: found.started_at.map_or(0, |start| now_ms.saturating_sub(start)),
        may_have_run: Some(!found.never_started()),
        ..Outcome::without_work(RunStatus::Interrupted, Some(RunErrorCode::Unavailable), summary, now_ms)
    }
}

/// Opens a journal for reading and appending, creating it 0600 in folders of mode 0700.
///
/// # Errors
/// If the file or its folder cannot be created or opened.
pub fn open_journal(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(NOFOLLOW).open(path);
    match open() {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Once a month: the folder itself must survive a power cut, or all its journals would be gone with it.
        if let Some(above) = dir.parent() {
            File::open(above)?.sync_all()?;
        }
    }
    open()
}

/// A journal is never reached through a link that somebody placed under its name.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Takes the journal's lock. Returns false if it is held.
///
/// # Errors
/// If the file system knows no locks.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(failed) => Err(failed.into()),
    }
}

/// Removes what stands behind the valid part. A tail that holds whole lines is damage rather than half a write, so it is kept beside the journal for a person to look at.
fn cut_tail(file: &mut File, path: &Path, found: &Scan) -> io::Result<()> {
    if found.damaged {
        let aside = path.with_extension("damaged");
        let mut copy = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(aside)?;
        file.seek(SeekFrom::Start(found.len))?;
        io::copy(&mut (&*file).take(found.file_len - found.len), &mut copy)?;
        copy.sync_data()?;
    }
    file.set_len(found.len)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free::once_free;
    use crate::journal::scan::tests::sample_lines;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn close_at(path: &Path) -> Closed {
        close_with(path, &"r".into(), &"agent:main:main".into(), |found| interrupted(found, 50)).unwrap()
    }

    /// For a journal that nobody holds.
    fn close_free(path: &Path) -> Closed {
        once_free(|| Some(close_at(path)).filter(|closed| !matches!(closed, Closed::Busy)))
    }

    #[test]
    fn m85_every_torn_tail_is_closed_once_and_the_second_time_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.ndjson");
        let lines = sample_lines();
        let bytes = lines.concat();
        let tails: [&[u8]; 4] = [b"", &[0; 4096], b"\0\0\x00rest", b"{\"runId\":\"x\",\"seq\":1}\n"];
        for cut in 0..=bytes.len() {
            for tail in tails {
                fs::write(&path, [&bytes[..cut], tail].concat()).unwrap();
                let whole_end = cut == bytes.len();
                match close_free(&path) {
                    Closed::Already(outcome, head) => assert!(whole_end && head == 3 && outcome.status == RunStatus::Ok),
                    Closed::Appended(outcome, _) => assert!(!whole_end && outcome.status == RunStatus::Interrupted),
                    Closed::Busy => panic!("nobody holds the lock"),
                }
                let after = fs::read(&path).unwrap();
                assert!(matches!(close_free(&path), Closed::Already(..)));
                assert_eq!(fs::read(&path).unwrap(), after, "cut at {cut}");
                let found = super::super::scan::scan_path(&path, &"r".into()).unwrap();
                assert_eq!((found.len, found.outcome.is_some()), (after.len() as u64, true));
            }
        }
    }

    #[test]
    fn a_journal_that_never_was_is_created_private_and_says_that_nothing_ran() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/2026-11/x.ndjson");
        let Closed::Appended(outcome, 1) = close_at(&path) else { panic!("not appended") };
        assert_eq!(outcome.may_have_run, Some(false));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_held_lock_is_busy_and_the_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let holder = open_journal(&path).unwrap();
        assert!(try_lock(&holder).unwrap());
        assert_eq!(close_at(&path), Closed::Busy);
        assert_eq!(fs::read(&path).unwrap(), b"");
        drop(holder);
        assert!(matches!(close_free(&path), Closed::Appended(..)));
    }

    #[test]
    fn damage_in_the_middle_is_kept_beside_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.ndjson");
        let lines = sample_lines();
        fs::write(&path, [&lines[0][..], b"garbage\n", &lines[1]].concat()).unwrap();
        assert!(matches!(close_at(&path), Closed::Appended(_, 2)));
        assert_eq!(fs::read(dir.path().join("j.damaged")).unwrap(), [b"garbage\n", &lines[1][..]].concat());
    }

    #[test]
    fn two_closers_append_one_line() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = dir.path().join(format!("{round}"));
            fs::write(&path, &sample_lines()[0]).unwrap();
            let appended: usize = std::thread::scope(|scope| {
                let closers: Vec<_> = (0..4).map(|_| scope.spawn(|| close_at(&path))).collect();
                closers.into_iter().map(|c| usize::from(matches!(c.join().unwrap(), Closed::Appended(..)))).sum()
            });
            assert_eq!(appended, 1);
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        }
    }
}
