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
use super::migrate::{self, MigrateError, STEPS};
use super::op::{Applied, Backend, Found, Op, Query};
use super::{sql_read, sql_write};
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
        conn.busy_timeout(LOCK_WAIT).map_err(|error| classify(path, &error))?;
        Ok(Self { conn, path: path.to_owned() })
    }

    fn prepare(&mut self) -> Result<(), MigrateError> {
        // Until the file is known to be ours, closing it must not even move its log into it.
        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        migrate::inspect(&self.conn, STEPS)?;
        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        self.conn.pragma_update(None, "journal_mode", "WAL")?;
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        self.conn.pragma_update(None, "foreign_keys", true)?;
        self.conn.pragma_update(None, "trusted_schema", false)?;
        self.conn.pragma_update(None, "cell_size_check", true)?;
        self.conn.pragma_update(None, "journal_size_limit", KEPT_LOG_BYTES)?;
        migrate::migrate(&mut self.conn, STEPS)
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
        sql_read::read(&self.conn, query).map_err(|error| classify(&self.path, &error))
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
