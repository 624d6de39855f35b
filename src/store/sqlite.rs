//! The backend that is used: one SQLite file in WAL mode.
//!
//! `synchronous=FULL`, so that a commit is on stable storage when it returns; `NORMAL` would lose the last commits at power loss, and with them accepted runs.
//! The writer and the reader each have a connection of their own, so that a question never waits for a sync.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::error::StoreError;
use super::log_room::LogRoom;
use super::migrate::{self, MigrateError, STEPS};
use super::op::{Applied, Backend, Found, Op, Query};
use super::{sql_read, sql_sessions, sql_write};
use crate::failpoint::failpoint;

/// How long a statement waits for another program that holds the file, such as an operator's shell.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this after a checkpoint, so that one burst does not hold disk for ever.
const KEPT_LOG_BYTES: i64 = 16 << 20;

/// One connection to the database file.
#[derive(Debug)]
pub struct Sqlite {
    conn: Connection,
    path: PathBuf,
    room: LogRoom,
}

impl Sqlite {
    /// Opens the file for writing, makes it if it is absent (mode 0600), and brings it to the schema of this program.
    ///
    /// # Errors
    /// The file cannot be opened, is damaged, foreign, or was written by a newer version; the text names it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        private_file(path).map_err(|error| StoreError::Open { path: path.to_owned(), cause: error.to_string() })?;
        let mut this = Self::connect(path)?;
        this.prepare().map_err(|error| this.migrate_error(error))?;
        Ok(this)
    }

    /// Opens the file for questions only. It must have been opened for writing before.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open_reader(path: &Path) -> Result<Self, StoreError> {
        let this = Self::connect(path)?;
        this.conn.pragma_update(None, "query_only", true).map_err(|error| classify(path, &error))?;
        Ok(this)
    }

    fn connect(path: &Path) -> Result<Self, StoreError> {
        // Without the URI flag, so that a `?` or `%` in a directory's name is only a character; without CREATE, because the file is made by us with our mode.
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|error| StoreError::Open { path: path.to_owned(), cause: error.to_string() })?;
        conn.busy_timeout(LOCK_WAIT).and_then(|()| sql_sessions::teach(&conn)).map_err(|error| classify(path, &error))?;
        Ok(Self { conn, path: path.to_owned(), room: LogRoom::of(path) })
    }

    fn prepare(&mut self) -> Result<(), MigrateError> {
        // Until the file is known to be ours, closing it must not even move its log into it.
        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        migrate::inspect(&self.conn, STEPS)?;
        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        self.conn.pragma_update(None, "journal_mode", "WAL")?;
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        // Off while tables are made anew; no table refers to another one.
        self.conn.pragma_update(None, "foreign_keys", false)?;
        self.conn.pragma_update(None, "trusted_schema", false)?;
        self.conn.pragma_update(None, "cell_size_check", true)?;
        self.conn.pragma_update(None, "journal_size_limit", KEPT_LOG_BYTES)?;
        migrate::migrate(&mut self.conn, STEPS)?;
        self.conn.pragma_update(None, "foreign_keys", true)?;
        Ok(())
    }

    fn migrate_error(&self, error: MigrateError) -> StoreError {
        match error {
            MigrateError::Newer { found } => {
                StoreError::Newer { path: self.path.clone(), found, known: u32::try_from(STEPS.len()).unwrap_or(u32::MAX) }
            }
            MigrateError::Foreign => StoreError::Foreign(self.path.clone()),
            MigrateError::Sql(error) => classify(&self.path, &error),
        }
    }

    fn commit(&mut self, batch: &[Op]) -> Result<Vec<Result<Applied, StoreError>>, StoreError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| classify(&self.path, &error))?;
        let mut results = Vec::with_capacity(batch.len());
        for op in batch {
            tx.execute_batch("SAVEPOINT op").map_err(|error| classify(&self.path, &error))?;
            let result = match sql_write::apply(&tx, op) {
                Ok(applied) => Ok(applied),
                Err(sql_write::Failure::Refused(refusal)) => Err(refusal),
                Err(sql_write::Failure::Sql(error)) => match classify(&self.path, &error) {
                    // Only a failed statement is the operation's own affair; trouble with the file concerns the batch.
                    StoreError::Sql(cause) => Err(StoreError::Sql(cause)),
                    trouble => return Err(trouble),
                },
            };
            let end = if result.is_ok() { "RELEASE op" } else { "ROLLBACK TO op; RELEASE op" };
            tx.execute_batch(end).map_err(|error| classify(&self.path, &error))?;
            results.push(result);
        }
        failpoint!("store.before_commit");
        tx.commit().map_err(|error| classify(&self.path, &error))?;
        failpoint!("store.after_commit");
        Ok(results)
    }
}

impl Backend for Sqlite {
    fn apply(&mut self, batch: &[Op]) -> Result<Vec<Result<Applied, StoreError>>, StoreError> {
        let outcome = self.commit(batch);
        // A transaction that could not even be rolled back leaves a connection on which nothing can be promised.
        if self.conn.is_autocommit() {
            return outcome;
        }
        Err(StoreError::Io("the failed transaction could not be rolled back".to_owned()))
    }

    fn read(&mut self, query: &Query) -> Result<Found, StoreError> {
        // One state for all statements of an answer: what is read in two steps may be deleted between them.
        let state = self.conn.transaction().map_err(|error| classify(&self.path, &error))?;
        sql_read::read(&state, query).map_err(|error| classify(&self.path, &error))
    }

    fn rest(&mut self) {
        self.room.grow(&mut self.conn);
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(|error| classify(&self.path, &error))
    }
}

/// What an error of SQLite means to our callers.
fn classify(path: &Path, error: &rusqlite::Error) -> StoreError {
    // The shared-memory index could not grow: the disk is full, and nothing was promised yet.
    const NO_ROOM_FOR_INDEX: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

    let cause = error.to_string();
    let path = path.to_owned();
    match error.sqlite_error().map(|error| (error.code, error.extended_code)) {
        Some((ErrorCode::DiskFull, _) | (_, NO_ROOM_FOR_INDEX)) => StoreError::DiskFull,
        Some((ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _)) => StoreError::ReadOnly,
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => StoreError::Locked,
        Some((ErrorCode::SystemIoFailure, _)) => StoreError::Io(cause),
        Some((ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)) => StoreError::Corrupt { path, cause },
        Some((ErrorCode::CannotOpen, _)) => StoreError::Open { path, cause },
        _ => StoreError::Sql(cause),
    }
}

/// Makes the file if it is absent, and takes from group and others what they can do with it; the log beside it gets the same mode from SQLite.
fn private_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            // The name must be as durable as what will be written under it.
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::metadata(path)?;
            if !found.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            let mode = found.permissions().mode();
            if mode & 0o077 == 0 { Ok(()) } else { fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o600)) }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::RunId;
    use crate::store::contract::{new_run, place};
    use crate::store::op::Accept;
    use crate::store::record::NewRun;

    fn accept(name: &str, spec_bytes: usize) -> Op {
        let run = NewRun { spec: "x".repeat(spec_bytes), ..new_run(name) };
        Op::Accept(Box::new(Accept { run, spare_run_id: RunId::fresh(), new_session_id: "s".to_owned() }))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_and_its_log_are_for_the_owner_only() {
        let (dir, path) = place();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut db = Sqlite::open(&path).unwrap();
        db.apply(&[accept("a", 1)]).unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn commits_are_synced_and_the_log_is_in_use() {
        let (_dir, path) = place();
        let db = Sqlite::open(&path).unwrap();
        let pragma = |name: &str| db.conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
        assert_eq!(pragma("synchronous"), 2.into());
        assert_eq!(pragma("foreign_keys"), 1.into());
    }

    #[test]
    fn a_reader_sees_what_is_committed_and_cannot_write() {
        let (_dir, path) = place();
        let mut writer = Sqlite::open(&path).unwrap();
        let mut reader = Sqlite::open_reader(&path).unwrap();
        writer.apply(&[accept("a", 1)]).unwrap();
        assert!(matches!(reader.read(&Query::Unfinished), Ok(Found::All(runs)) if runs.len() == 1));
        assert_eq!(reader.apply(&[Op::Ping]), Err(StoreError::ReadOnly));
    }

    #[test]
    fn m88_a_real_full_file_is_disk_full_and_heals() {
        let (_dir, path) = place();
        let mut db = Sqlite::open(&path).unwrap();
        let pages: i64 = db.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        db.conn.query_row(&format!("PRAGMA max_page_count = {}", pages + 4), [], |_| Ok(())).unwrap();
        assert_eq!(db.apply(&[accept("a", 1 << 20)]), Err(StoreError::DiskFull));
        assert!(matches!(db.read(&Query::Unfinished), Ok(Found::All(runs)) if runs.is_empty()));
        db.conn.query_row("PRAGMA max_page_count = 100000", [], |_| Ok(())).unwrap();
        db.apply(&[accept("a", 1 << 20)]).unwrap()[0].as_ref().unwrap();
    }

    #[test]
    fn m85_a_torn_log_loses_only_the_commit_that_is_torn() {
        let (_dir, path) = place();
        let copy = tempfile::tempdir().unwrap();
        let (db_copy, wal_copy) = (copy.path().join("gateway.db"), copy.path().join("gateway.db-wal"));
        let wal = path.with_extension("db-wal");
        let mut db = Sqlite::open(&path).unwrap();
        db.apply(&[accept("a", 1)]).unwrap();
        let whole = fs::metadata(&wal).unwrap().len();
        db.apply(&[accept("b", 1)]).unwrap();
        let longer = fs::metadata(&wal).unwrap().len();
        for cut in [whole, whole + 1, (whole + longer) / 2, longer - 1] {
            // A copy of both files is what a crash leaves behind.
            fs::copy(&path, &db_copy).unwrap();
            let mut log = fs::read(&wal).unwrap();
            log.truncate(usize::try_from(cut).unwrap());
            fs::write(&wal_copy, log).unwrap();
            let mut torn = Sqlite::open(&db_copy).unwrap();
            assert!(matches!(torn.read(&Query::Unfinished), Ok(Found::All(runs)) if runs.len() == 1), "cut at {cut}");
            drop(torn);
        }
    }

    #[test]
    fn m86_a_damaged_file_is_refused_with_its_name_and_what_to_do() {
        let (_dir, path) = place();
        fs::write(&path, "this is no database at all, but it is long enough to look at. ".repeat(40)).unwrap();
        let text = Sqlite::open(&path).unwrap_err().to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("move it"), "{text}");
    }

    #[test]
    fn m86_a_damaged_page_is_an_error_and_never_an_empty_answer() {
        let (_dir, path) = place();
        let mut db = Sqlite::open(&path).unwrap();
        db.apply(&(0..200).map(|n| accept(&n.to_string(), 500)).collect::<Vec<_>>()).unwrap();
        db.checkpoint().unwrap();
        drop(db);
        let mut bytes = fs::read(&path).unwrap();
        // All but the first two pages, so that the schema can be read and the rows cannot.
        bytes[8192..].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        let answer = Sqlite::open(&path).and_then(|mut db| db.read(&Query::Unfinished));
        assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{answer:?}");
    }

    #[test]
    fn a_file_of_a_newer_version_is_left_as_it_is() {
        let (_dir, path) = place();
        let db = Sqlite::open(&path).unwrap();
        db.conn.pragma_update(None, "user_version", 9).unwrap();
        drop(db);
        let before = fs::read(&path).unwrap();
        let error = Sqlite::open(&path).unwrap_err();
        assert!(error.to_string().starts_with("the store was written by a newer version"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_database_of_another_program_is_left_as_it_is() {
        let (_dir, path) = place();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let before = fs::read(&path).unwrap();
        assert_eq!(Sqlite::open(&path).unwrap_err(), StoreError::Foreign(path.clone()));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn m89_a_path_that_cannot_be_opened_is_named() {
        let (dir, _) = place();
        for path in [dir.path().join("absent/gateway.db"), dir.path().to_owned()] {
            let error = Sqlite::open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }
}
