//! Room in the write-ahead log ahead of its use.
//!
//! A sync after writing over what is there takes about half as long as one after making a file longer, which also changes the file system's own records. SQLite writes the log from its beginning again each time it has moved it into the database, so only the first thousand pages after a start would make it longer: those are filled with zeros before, a step at a time, while nobody waits. To SQLite a page of zeros is the end of the log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};
use rustix::fs::fstatvfs;

/// How long the log is made: a little more than the thousand pages after which SQLite moves it into the database.
const BYTES: u64 = 4608 << 10;
/// Bytes of one step, so that whoever comes meanwhile waits for a few milliseconds at most.
const STEP: u64 = 512 << 10;
/// Nothing is taken where less than this is free: it is worth less than the last space of a disk.
const SPARE: u64 = 256 << 20;
/// Bytes of one write.
const PIECE: usize = 64 << 10;

/// Makes room in one log until there is enough.
#[derive(Debug)]
pub struct LogRoom {
    log: PathBuf,
    done: bool,
}

impl LogRoom {
    /// For the log of this database file.
    #[must_use]
    pub fn of(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Self { log: log.into(), done: false }
    }

    /// Takes one step, if one is left. Without success the log grows as it is used, as ever.
    pub fn grow(&mut self, conn: &mut Connection) {
        if self.done {
            return;
        }
        // The write lock: another program that writes now would write where the zeros go.
        self.done = match conn.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(_alone) => step(&self.log).unwrap_or(true),
            Err(_) => true,
        };
    }
}

/// Makes the log longer. Returns whether it is long enough.
fn step(log: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().write(true).open(log)?;
    let begin = file.metadata()?.len();
    let space = fstatvfs(&file)?;
    if begin >= BYTES || space.f_bavail.saturating_mul(space.f_frsize) < SPARE {
        return Ok(true);
    }
    let end = (begin + STEP).min(BYTES);
    if let Err(failed) = fill(&file, begin, end) {
        // What could be written helps nobody and may be the last space there is.
        file.set_len(begin)?;
        return Err(failed);
    }
    Ok(end == BYTES)
}

fn fill(file: &File, begin: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; PIECE];
    let mut at = begin;
    while at < end {
        let len = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
        file.write_all_at(zeros.get(..len).unwrap_or_default(), at)?;
        at += len as u64;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::place;

    fn opened(path: &Path) -> Connection {
        let conn = Connection::open(path).unwrap();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        conn.execute_batch("CREATE TABLE IF NOT EXISTS t (x BLOB) STRICT").unwrap();
        conn
    }

    fn count(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_log_becomes_long_and_what_is_committed_before_between_and_after_is_there_after_a_crash() {
        let (_dir, path) = place();
        let mut conn = opened(&path);
        let mut room = LogRoom::of(&path);
        let len = || std::fs::metadata(room_log(&path)).unwrap().len();
        let mut steps = 0;
        while !room.done {
            conn.execute("INSERT INTO t VALUES (randomblob(9000))", []).unwrap();
            room.grow(&mut conn);
            steps += 1;
        }
        assert_eq!((len(), steps), (BYTES, 9));
        let other = tempfile::tempdir().unwrap();
        let copy = other.path().join("gateway.db");
        for rows in 10..600 {
            conn.execute("INSERT INTO t VALUES (randomblob(9000))", []).unwrap();
            // The copies are what a crash leaves behind, also while the log begins anew.
            if rows % 59 == 0 {
                std::fs::copy(&path, &copy).unwrap();
                std::fs::copy(room_log(&path), room_log(&copy)).unwrap();
                assert_eq!(count(&opened(&copy)), rows);
                std::fs::remove_file(room_log(&copy)).unwrap_or_default();
            }
        }
        assert_eq!(len(), BYTES, "the log was moved into the database before it was full");
    }

    #[test]
    fn a_log_that_somebody_else_writes_is_left_alone() {
        let (_dir, path) = place();
        let mut conn = opened(&path);
        conn.busy_timeout(std::time::Duration::ZERO).unwrap();
        let other = opened(&path);
        other.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (x'00')").unwrap();
        let before = std::fs::metadata(room_log(&path)).unwrap().len();
        LogRoom::of(&path).grow(&mut conn);
        assert_eq!(std::fs::metadata(room_log(&path)).unwrap().len(), before);
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(count(&conn), 1);
    }

    fn room_log(path: &Path) -> PathBuf {
        LogRoom::of(path).log
    }
}
