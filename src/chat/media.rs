//! Files that came with messages: `<state>/media/<sha256>/<name>`, 0600, each content once. Runs get their paths; they are forgotten when nobody has sent or used them for as long as runs are kept.

use std::fs::{File, FileTimes};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use super::attachments::Decoded;
use crate::runs::spec::Attached;
use crate::transcript::error::{Result, TranscriptError};
use crate::transcript::place::Place;

/// The files beneath one state directory.
#[derive(Clone, Debug)]
pub struct Media {
    root: PathBuf,
    /// Many may keep files at once. Who removes a folder is alone with it, or it would take a folder that was just made for a file, or a file that was just sent again.
    removing: Arc<RwLock<()>>,
}

impl Media {
    /// The files beneath this state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { root: state_dir.to_owned(), removing: Arc::default() }
    }

    /// Writes an attachment down, unless it is there. `now` is ms since the epoch. Blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, attachment: &Decoded, now: u64) -> Result<Attached> {
        let path = self.root.join("media").join(&attachment.sha256).join(&attachment.name);
        let failed = TranscriptError::io("write", &path);
        let _nobody_removes = self.removing.read().unwrap_or_else(PoisonError::into_inner);
        let place = Place::find(&self.root, &path, true)?.ok_or_else(|| TranscriptError::Outside(path.clone()))?;
        let bytes = attachment.bytes.len() as u64;
        let there = place.open(OFlags::RDWR)?.filter(|file| file.metadata().is_ok_and(|meta| meta.len() == bytes));
        let file = match there {
            Some(file) => file,
            None => write(&place, &attachment.bytes).map_err(&failed)?,
        };
        file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_millis(now))).map_err(&failed)?;
        Ok(Attached { path: path.clone(), name: attachment.name.clone(), mime_type: attachment.mime.clone(), bytes })
    }

    /// The bytes of a file, if it is there and not longer than `max` bytes. Blocks.
    #[must_use]
    pub fn load(&self, path: &Path, max: usize) -> Option<Vec<u8>> {
        // Only what was put here is given out, whatever a transcript names.
        if !path.starts_with(self.root.join("media")) {
            return None;
        }
        let file = Place::find(&self.root, path, false).ok()??.open(OFlags::RDONLY).ok()??;
        let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
        if len > max {
            return None;
        }
        let mut bytes = Vec::with_capacity(len);
        file.take(max as u64).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Removes files that were not sent since `before`, ms since the epoch, and says how many. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn prune(&self, before: u64) -> io::Result<usize> {
        let limit = UNIX_EPOCH + Duration::from_millis(before);
        let mut gone = 0;
        let folders = match std::fs::read_dir(self.root.join("media")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            folders => folders?,
        };
        for folder in folders {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let _alone = self.removing.write().unwrap_or_else(PoisonError::into_inner);
            gone += prune_folder(&folder.path(), limit)?;
        }
        Ok(gone)
    }
}

/// Removes the files of one folder that are older than `limit`, and the folder with the last of them.
fn prune_folder(folder: &Path, limit: SystemTime) -> io::Result<usize> {
    let mut gone = 0;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if file.metadata()?.modified()? < limit {
            std::fs::remove_file(file.path())?;
            gone += 1;
        }
    }
    // Fails if something is left in it, as it shall.
    let _ = std::fs::remove_dir(folder);
    Ok(gone)
}

/// Writes beside the place and then moves there, so that nobody ever sees half a file.
fn write(place: &Place, bytes: &[u8]) -> io::Result<File> {
    let name = format!(".{}.new", uuid::Uuid::new_v4().simple());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let opened = place.open_as(name.as_ref(), flags).map_err(io::Error::other)?;
    let mut file = opened.ok_or(io::ErrorKind::NotFound)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| place.replace_by(name.as_ref()));
    if let Err(error) = written.and_then(|()| place.sync_folder()) {
        let _ = place.remove(name.as_ref());
        return Err(error);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const AT: u64 = 1_795_132_800_000;

    fn file(name: &str, bytes: &[u8]) -> Decoded {
        Decoded { name: name.to_owned(), mime: "text/plain".to_owned(), bytes: bytes.to_vec(), sha256: "ab".repeat(32) }
    }

    #[test]
    fn a_file_is_kept_once_private_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let media = Media::new(dir.path());
        let kept = media.keep(&file("a.txt", b"hello"), AT).unwrap();
        assert_eq!(media.keep(&file("a.txt", b"hello"), AT + 5000).unwrap(), kept);
        assert_eq!(std::fs::read_dir(kept.path.parent().unwrap()).unwrap().count(), 1);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&kept.path), mode(kept.path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(media.load(&kept.path, 5).as_deref(), Some(b"hello".as_slice()));
        assert_eq!(media.load(&kept.path, 4), None);
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        assert_eq!(media.load(&dir.path().join("secret"), 10), None);
        assert_eq!(media.load(&dir.path().join("media/../secret"), 10), None);
    }

    #[test]
    fn half_a_file_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let media = Media::new(dir.path());
        let kept = media.keep(&file("a.txt", b"hello"), AT).unwrap();
        std::fs::write(&kept.path, "he").unwrap();
        media.keep(&file("a.txt", b"hello"), AT).unwrap();
        assert_eq!(std::fs::read(&kept.path).unwrap(), b"hello");
    }

    #[test]
    fn files_that_nobody_has_sent_for_long_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let media = Media::new(dir.path());
        assert_eq!(media.prune(AT).unwrap(), 0);
        let old = media.keep(&file("old.txt", b"1"), AT - 1000).unwrap();
        let new = media.keep(&file("new.txt", b"2"), AT + 1000).unwrap();
        assert_eq!(media.prune(AT).unwrap(), 1);
        assert!(!old.path.exists() && new.path.exists());
        assert_eq!(media.prune(AT + 2000).unwrap(), 1);
        assert!(!new.path.parent().unwrap().exists());
    }

    /// Before, an attachment that came while old ones were forgotten could not be stored, or was gone right after it was taken.
    #[test]
    fn a_file_that_is_sent_while_others_are_forgotten_stays() {
        let dir = tempfile::tempdir().unwrap();
        let media = Media::new(dir.path());
        let mut failures = Vec::new();
        std::thread::scope(|scope| {
            let keeping = scope.spawn(|| {
                for round in 0..300 {
                    let old = media.keep(&file("a.txt", b"hello"), AT - 1000).unwrap();
                    // Every other time into a folder that is not there.
                    while round % 2 == 0 && old.path.exists() {
                        std::thread::yield_now();
                    }
                    let kept = media.keep(&file("a.txt", b"hello"), AT + 1000).unwrap();
                    assert!(kept.path.exists(), "round {round}");
                }
            });
            while !keeping.is_finished() {
                failures.extend(media.prune(AT).err());
            }
            keeping.join().unwrap();
        });
        assert!(failures.is_empty(), "{failures:?}");
    }
}
