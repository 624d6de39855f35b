//! Why a transcript could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

/// A transcript that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// The path does not lead to a file beneath the state directory.
    #[error("{0} is not a place beneath the state directory")]
    Outside(PathBuf),
    /// A part of the path is a link, or the end of it is not a plain file.
    #[error("{0} is a link or not a plain file")]
    NotPlain(PathBuf),
    /// The caller's entry cannot be written as one.
    #[error("an entry cannot be written: {0}")]
    Entry(&'static str),
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried, such as `append to`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The thread that did the work is gone.
    #[error("the work on a transcript was lost")]
    Lost,
}

impl TranscriptError {
    /// Wraps what the file system says.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path: path.clone(), source }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// What the functions of this module return.
pub type Result<T> = std::result::Result<T, TranscriptError>;
