//! One daemon per state directory.
//!
//! The lock is the kernel's (`flock` on an open file), so it ends with its process whatever way that ends. What is written inside only serves the text of the refusal: a left-over file, or a pid that another program has by now, means nothing.
//! The file is never removed, because a waiting process could then lock a name that is gone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Name of the lock file in the state directory.
const NAME: &str = "gateway.lock";

/// The ownership of a state directory; it ends when this is dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why a state directory was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it. Exit code 75.
    #[error("another gateway{} owns this state directory ({}); stop it, or name another directory with --state-dir", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), .state_dir.display())]
    Held {
        /// The process, when it has said so already.
        pid: Option<u32>,
        /// The directory.
        state_dir: PathBuf,
    },
    /// The lock file cannot be made or used. Exit code 73.
    #[error("cannot use the lock file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StateLock {
    /// Takes the directory, without waiting. `now_ms` is written beside our pid.
    ///
    /// # Errors
    /// It is taken, or the lock file cannot be used.
    pub fn take(state_dir: &Path, now_ms: u64) -> Result<Self, LockError> {
        let path = state_dir.join(NAME);
        let at = |source| LockError::File { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: holder(&mut file), state_dir: state_dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        // A full disk must not keep a gateway from starting that could still show its runs; the text is a courtesy.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{} {now_ms}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // A pid and a time; a longer text is not ours.
    file.take(64).read_to_string(&mut text).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free::once_free;

    #[test]
    fn m93_a_second_owner_is_refused_with_the_pid_and_the_first_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path(), 1).unwrap();
        let text = StateLock::take(dir.path(), 2).unwrap_err().to_string();
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
        assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
        drop(first);
        once_free(|| StateLock::take(dir.path(), 3).ok());
    }

    #[test]
    fn m94_a_left_over_file_with_a_living_strangers_pid_is_harmless() {
        for content in ["1 1795132800000\n", "", "garbage", "99999999999999999999"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(NAME), content).unwrap();
            let lock = StateLock::take(dir.path(), 2).unwrap();
            drop(lock);
            let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
            assert_eq!(text, format!("{} 2\n", std::process::id()));
        }
    }

    #[test]
    fn m93_a_holder_that_has_not_said_its_pid_is_still_respected() {
        let dir = tempfile::tempdir().unwrap();
        let _first = StateLock::take(dir.path(), 1).unwrap();
        std::fs::write(dir.path().join(NAME), "").unwrap();
        let text = StateLock::take(dir.path(), 2).unwrap_err().to_string();
        assert!(text.starts_with("another gateway owns this state directory"), "{text}");
    }

    #[test]
    fn m89_a_directory_that_is_absent_is_an_error_that_names_the_file() {
        let error = StateLock::take(Path::new("/nonexistent/state"), 1).unwrap_err();
        assert!(matches!(error, LockError::File { .. }));
        assert!(error.to_string().contains("/nonexistent/state/gateway.lock"), "{error}");
    }
}
