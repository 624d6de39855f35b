//! Saves a config file whole: whoever dies at whatever moment leaves the old text or the new one, never another.
//!
//! ```text
//! lock ──> .name.tmp (0600) ──fsync──read back──> name.bak … name.bak.4 ──> rename over name ──> fsync of the directory
//! ```
//! A lock file beside the config keeps writers apart, also those of other processes; it is never removed, because a lock on a removed file protects nobody.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::paths::private_dir;
use crate::failpoint::failpoint;

/// Backups that are kept: `.bak`, the newest, and `.bak.1` to `.bak.4`.
pub const BACKUPS: usize = 5;
/// How long another writer is waited for; a save takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// The right to write; given back when dropped.
#[derive(Debug)]
pub struct WriteLock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells nobody that a lock is free by a deadline; this blocks a thread that may block"
)]
fn pause() {
    std::thread::sleep(POLL);
}

fn beside(path: &Path, prefix: &str, suffix: &str) -> PathBuf {
    let mut name = OsString::from(prefix);
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// Waits for the right to write the config at `path`. It blocks for up to five seconds.
///
/// # Errors
/// `WouldBlock`: another writer has it; else what the file system says.
pub fn lock(path: &Path) -> io::Result<WriteLock> {
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        private_dir(directory)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(beside(path, "", ".lock"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(WriteLock(file)),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK && Instant::now() < deadline => pause(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts `text` in place of the file at `real`, which may not exist, and keeps the old one as a backup. On disk when this returns.
///
/// # Errors
/// What the file system says; the file is as it was then.
pub fn save(real: &Path, text: &str, _lock: &WriteLock) -> io::Result<()> {
    let temporary = beside(real, ".", ".tmp");
    // What an interrupted writer left; only the holder of the lock gets here.
    remove_if_there(&temporary)?;
    let written = write_new(&temporary, text).and_then(|()| {
        failpoint!("config.written");
        back_up(real)?;
        failpoint!("config.backed_up");
        fs::rename(&temporary, real)
    });
    if let Err(cause) = written {
        let _ = fs::remove_file(&temporary);
        return Err(cause);
    }
    failpoint!("config.renamed");
    let directory = real.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    failpoint!("config.made");
    let (one, other) = text.as_bytes().split_at(text.len() / 2);
    file.write_all(one)?;
    failpoint!("config.half_written");
    file.write_all(other)?;
    file.sync_all()?;
    let mut found = Vec::with_capacity(text.len());
    File::open(path)?.read_to_end(&mut found)?;
    if found != text.as_bytes() {
        return Err(io::Error::other("what was written does not read back the same"));
    }
    Ok(())
}

/// Makes room among the backups and keeps the file as the newest of them. The file itself stays where it is.
fn back_up(real: &Path) -> io::Result<()> {
    if !real.exists() {
        return Ok(());
    }
    let backup = |n: usize| beside(real, "", &if n == 0 { ".bak".to_owned() } else { format!(".bak.{n}") });
    for n in (1..BACKUPS).rev() {
        match fs::rename(backup(n - 1), backup(n)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        failpoint!("config.rotated");
    }
    let newest = backup(0);
    // A file system without links gets a copy.
    fs::hard_link(real, &newest).or_else(|_| fs::copy(real, &newest).map(drop))?;
    fs::set_permissions(&newest, fs::Permissions::from_mode(0o600))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_save_is_private_and_the_last_five_texts_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skykoi.json");
        for n in 0..8 {
            save(&path, &format!("{{ n: {n} }}"), &lock(&path).unwrap()).unwrap();
        }
        assert_eq!(text(&path), "{ n: 7 }");
        for (suffix, n) in [(".bak", 6), (".bak.1", 5), (".bak.2", 4), (".bak.3", 3), (".bak.4", 2)] {
            assert_eq!(text(&beside(&path, "", suffix)), format!("{{ n: {n} }}"));
            assert_eq!(beside(&path, "", suffix).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let wanted = ["", ".bak", ".bak.1", ".bak.2", ".bak.3", ".bak.4", ".lock"].map(|suffix| format!("skykoi.json{suffix}"));
        assert_eq!(names, wanted, "nothing else is left");
    }

    #[test]
    fn what_an_interrupted_writer_left_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        fs::write(&path, "old").unwrap();
        fs::write(dir.path().join(".c.tmp"), "half").unwrap();
        save(&path, "new", &lock(&path).unwrap()).unwrap();
        assert_eq!(text(&path), "new");
        assert!(!dir.path().join(".c.tmp").exists());
    }

    #[test]
    fn two_writers_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let held = lock(&path).unwrap();
        let other = OpenOptions::new().write(true).open(dir.path().join("c.lock")).unwrap();
        assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err());
        drop(held);
        lock(&path).unwrap();
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_text_and_the_backups() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        fs::write(&path, "old").unwrap();
        let lock = lock(&path).unwrap();
        fs::create_dir(dir.path().join(".c.tmp")).unwrap();
        assert!(save(&path, "new", &lock).is_err());
        assert_eq!(text(&path), "old");
        assert!(!dir.path().join("c.bak").exists());
    }
}
