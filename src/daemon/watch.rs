//! Notices changes of the config's files: one inotify watch per directory, nothing recursive; without inotify, a look every five seconds.
//!
//! Directories are watched and not files, because editors and our own writer replace a file by renaming another over it. A change is reported when it has been quiet for a while, so that a storm of renames is one change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::net::unix::pipe;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::gateway::Gateway;

/// How often the files are looked at without inotify.
const POLL: Duration = Duration::from_secs(5);
/// A storm that does not end is reported all the same.
const LONGEST_STORM: Duration = Duration::from_secs(5);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The files, which need not exist.
    pub files: Vec<PathBuf>,
    /// Quiet time before a change is reported.
    pub debounce: Duration,
}

/// Reports to `settled` that files may have changed, until the gateway stops. It can be wrong; who is told looks.
///
/// It reports whenever it has just begun to watch: at the start, and after each change, because between two sets of watches nobody sees.
pub async fn watch(gateway: Arc<Gateway>, mut watched: watch::Receiver<Watched>, settled: Arc<Notify>) {
    let stop = gateway.tasks.stop_token();
    let mut blind = false;
    loop {
        let what = watched.borrow_and_update().clone();
        let seeing = async {
            match Eyes::open(&what.files) {
                Ok(eyes) => {
                    if std::mem::take(&mut blind) {
                        info!("the config is watched by inotify again");
                    }
                    gateway.configuration.note_watcher("inotify");
                    settled.notify_one();
                    eyes.until_settled(what.debounce).await;
                }
                Err(cause) => {
                    gateway.configuration.note_watcher("polling");
                    if !std::mem::replace(&mut blind, true) {
                        warn!(%cause, "the config cannot be watched by inotify; it is looked at every 5 s instead");
                    }
                    look(&what, &settled).await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            _ = watched.changed() => {}
            () = seeing => {}
        }
    }
}

/// Ends when the files have changed, or after some looks, so that inotify is tried again.
async fn look(what: &Watched, settled: &Notify) {
    let before = signature(&what.files);
    settled.notify_one();
    sleep(POLL).await;
    if signature(&what.files) != before {
        sleep(what.debounce).await;
    }
}

/// What a change of a file's content or identity changes.
fn signature(files: &[PathBuf]) -> Vec<Option<(u64, u64, i64, i64)>> {
    let of = |path: &PathBuf| path.metadata().ok().map(|meta| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
    files.iter().map(of).collect()
}

/// An inotify instance with its watches, by number, and the names that matter in each directory.
struct Eyes {
    events: pipe::Receiver,
    names: BTreeMap<i32, BTreeSet<OsString>>,
}

impl Eyes {
    fn open(files: &[PathBuf]) -> io::Result<Self> {
        use inotify::{CreateFlags, WatchFlags};
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut names: BTreeMap<i32, BTreeSet<OsString>> = BTreeMap::new();
        for file in files.iter().cloned().chain(files.iter().filter_map(|file| file.canonicalize().ok())) {
            let Some(name) = file.file_name() else { continue };
            let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // The same directory by two paths is one watch.
            let number = inotify::add_watch(&fd, directory, flags)?;
            names.entry(number).or_default().insert(name.to_owned());
        }
        // What comes out is read as from a pipe: bytes that are there or not.
        Ok(Self { events: pipe::Receiver::from_owned_fd_unchecked(fd)?, names })
    }

    /// Ends when a file that matters was touched and then left alone for `debounce`, or when a directory is gone.
    async fn until_settled(&self, debounce: Duration) {
        if !self.touched().await {
            // The directory is gone: looked for again, but not in a circle.
            return sleep(POLL).await;
        }
        let mut quiet = Instant::now() + debounce;
        let latest = quiet + LONGEST_STORM;
        loop {
            tokio::select! {
                // What was touched before that time counts, also if it is read late.
                biased;
                there = self.touched() => {
                    if !there || Instant::now() >= latest {
                        return;
                    }
                    quiet = latest.min(Instant::now() + debounce);
                }
                () = sleep_until(quiet) => return,
            }
        }
    }

    /// Waits for something that matters. False: a directory is gone, or the watch is broken.
    async fn touched(&self) -> bool {
        loop {
            if self.events.readable().await.is_err() {
                return false;
            }
            let mut bytes = [0; 4096];
            match self.events.try_read(&mut bytes) {
                Ok(length) => {
                    if let Some(there) = self.judge(bytes.get(..length).unwrap_or_default()) {
                        return there;
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(cause) => {
                    warn!(%cause, "the watch of the config is broken");
                    return false;
                }
            }
        }
    }

    /// Whether something that matters was touched (true) or a directory is gone (false); none if nothing of either.
    fn judge(&self, bytes: &[u8]) -> Option<bool> {
        use inotify::ReadFlags;
        let mut found = None;
        for (watch, flags, name) in events(bytes) {
            if flags.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
                return Some(false);
            }
            let matters = self.names.get(&watch).is_some_and(|names| names.contains(OsStr::from_bytes(name)));
            if matters || flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                found = Some(true);
            }
        }
        found
    }
}

/// The events in what was read: number of the watch, flags, name within the directory. The kernel writes whole events only: four numbers, the last of which is the length of the name with the zeros behind it.
fn events(mut bytes: &[u8]) -> impl Iterator<Item = (i32, inotify::ReadFlags, &[u8])> {
    std::iter::from_fn(move || {
        let (watch, rest) = bytes.split_first_chunk()?;
        let (flags, rest) = rest.split_first_chunk()?;
        let (_cookie, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_ne_bytes(*length)).ok()?)?;
        bytes = rest;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let flags = inotify::ReadFlags::from_bits_retain(u32::from_ne_bytes(*flags));
        Some((i32::from_ne_bytes(*watch), flags, name.get(..end)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_files_that_matter_are_noticed_and_a_storm_is_one_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c");
        let eyes = Eyes::open(std::slice::from_ref(&file)).unwrap();
        std::fs::write(dir.path().join("other"), "x").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), eyes.touched()).await.is_err());
        for n in 0..50 {
            std::fs::write(dir.path().join("new"), n.to_string()).unwrap();
            std::fs::rename(dir.path().join("new"), &file).unwrap();
        }
        eyes.until_settled(Duration::from_millis(20)).await;
        assert!(tokio::time::timeout(Duration::from_millis(50), eyes.touched()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_time_of_any_length_is_waited_for_and_no_storm_is_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c");
        let eyes = Eyes::open(std::slice::from_ref(&file)).unwrap();
        let debounce = Duration::from_secs(60);
        std::fs::write(&file, "x").unwrap();
        let began = Instant::now();
        eyes.until_settled(debounce).await;
        assert!(began.elapsed() >= debounce, "{:?}", began.elapsed());
        let storm = async {
            loop {
                std::fs::write(&file, "x").unwrap();
                sleep(Duration::from_secs(1)).await;
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = eyes.until_settled(debounce) => {}
            () = storm => {}
        }
        let took = began.elapsed();
        assert!(took >= debounce + LONGEST_STORM && took < debounce + 2 * LONGEST_STORM, "{took:?}");
    }

    #[tokio::test]
    async fn a_directory_that_goes_is_noticed_and_one_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("d");
        assert!(Eyes::open(&[inner.join("c")]).is_err());
        std::fs::create_dir(&inner).unwrap();
        let eyes = Eyes::open(&[inner.join("c")]).unwrap();
        std::fs::remove_dir(&inner).unwrap();
        assert!(!eyes.touched().await);
    }

    #[test]
    fn a_file_has_another_signature_when_it_is_replaced_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let file = vec![dir.path().join("c")];
        let absent = signature(&file);
        std::fs::write(&file[0], "1").unwrap();
        let one = signature(&file);
        std::fs::write(dir.path().join("n"), "2").unwrap();
        std::fs::rename(dir.path().join("n"), &file[0]).unwrap();
        assert!(absent != one && one != signature(&file));
    }
}
