//! What can go wrong in the store, in the words of its callers.

use std::path::PathBuf;

use thiserror::Error;

/// Why the store did not do what was asked. Clonable, because one failed commit answers many waiting callers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The queue to the writer was full for as long as a caller waits. Worth another try.
    #[error("the store's queue is full")]
    Busy,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A write failed in a way after which nothing more may be promised; only a restart helps.
    #[error("the store is out of use since a failed write: {0}")]
    Poisoned(String),
    /// No space; nothing was written, reads go on, and writes work again when there is space.
    #[error("the disk is full")]
    DiskFull,
    /// The file or its file system is read-only; nothing was written.
    #[error("the database is read-only")]
    ReadOnly,
    /// Another program holds the database; nothing was written. Worth another try.
    #[error("the database is locked by another program")]
    Locked,
    /// No such record.
    #[error("no such record")]
    NotFound,
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Refused(String),
    /// The device failed.
    #[error("i/o error in the database: {0}")]
    Io(String),
    /// The file is not what we wrote.
    #[error("the database {} is damaged ({cause}); move it and its -wal and -shm files away and start again (runs and sessions are then forgotten, journals stay), or restore a copy", .path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A SQLite database that is not ours.
    #[error("{} is a database of another program; nothing in it was changed", .0.display())]
    Foreign(PathBuf),
    /// Written by a later version of this program; nothing was touched.
    #[error("the store was written by a newer version ({}: schema {found}, this program knows {known}); install that version again", .path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Schema version of the file.
        found: u32,
        /// Newest schema version of this program.
        known: u32,
    },
    /// The file cannot be opened or made.
    #[error("cannot open the database {}: {cause}", .path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// A statement failed for a reason that a correct program does not meet.
    #[error("statement failed: {0}")]
    Sql(String),
}

impl StoreError {
    /// Whether nothing more may be promised after this answer to a write.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Corrupt { .. } | Self::Poisoned(_))
    }

    /// Whether the same call may succeed later without a person's help or a restart.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::Locked | Self::DiskFull)
    }
}
