//! Opens files beneath the state directory step by step, so that no link on the way can lead out of it.
//!
//! The state directory itself may be reached through links; everything beneath it is ours and holds none.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::{Result, TranscriptError};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A file's folder, open, and its name in it. The file need not exist.
#[derive(Debug)]
pub struct Place {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl Place {
    /// The place of `path`, which stands beneath `root`. `None` if a folder on the way does not exist and is not to be made.
    ///
    /// # Errors
    /// The path leads elsewhere, or a folder cannot be opened or made.
    pub fn find(root: &Path, path: &Path, make: bool) -> Result<Option<Self>> {
        let outside = || TranscriptError::Outside(path.to_owned());
        let inside = path.strip_prefix(root).map_err(|_| outside())?;
        let mut steps = Vec::new();
        for part in inside.components() {
            let Component::Normal(name) = part else { return Err(outside()) };
            steps.push(name);
        }
        let name = steps.pop().ok_or_else(outside)?.to_owned();
        let opening = TranscriptError::io("open the folder of", path);
        let mut folder = match rustix::fs::openat(CWD, root, FOLDER, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) if !make => return Ok(None),
            Err(error) => return Err(opening(error.into())),
        };
        for step in steps {
            folder = match enter(&folder, step, make) {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(TranscriptError::NotPlain(path.to_owned())),
                Err(error) => return Err(opening(error.into())),
            };
        }
        Ok(Some(Self { folder, name, path: path.to_owned() }))
    }

    /// The whole path, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Opens the file. `None` if it does not exist and `flags` do not make it.
    ///
    /// # Errors
    /// It is a link or not a plain file, or the system refuses.
    pub fn open(&self, flags: OFlags) -> Result<Option<File>> {
        self.open_as(&self.name, flags)
    }

    /// Opens another file of the same folder.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(&self, name: &OsStr, flags: OFlags) -> Result<Option<File>> {
        // Without blocking, so that a FIFO in its place cannot hang the gateway.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(TranscriptError::NotPlain(self.path.clone())),
            Err(error) => return Err(TranscriptError::io("open", &self.path)(error.into())),
        };
        let meta = file.metadata().map_err(TranscriptError::io("examine", &self.path))?;
        if !meta.is_file() {
            return Err(TranscriptError::NotPlain(self.path.clone()));
        }
        Ok(Some(file))
    }

    /// Gives the file a further name in its folder. False if that name is taken.
    ///
    /// # Errors
    /// What the system says.
    pub fn link(&self, to: &OsStr) -> io::Result<bool> {
        taken(rustix::fs::linkat(&self.folder, &self.name, &self.folder, to, AtFlags::empty()))
    }

    /// Renames the file to a name that must be free. False if it is taken.
    ///
    /// # Errors
    /// What the system says.
    pub fn rename_to(&self, to: &OsStr) -> io::Result<bool> {
        taken(rustix::fs::renameat_with(&self.folder, &self.name, &self.folder, to, RenameFlags::NOREPLACE))
    }

    /// Puts another file of the folder in the place of this one.
    ///
    /// # Errors
    /// What the system says.
    pub fn replace_by(&self, from: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.folder, from, &self.folder, &self.name)?)
    }

    /// Removes another file of the folder, if it is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the names in the folder survive a power cut.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_folder(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.folder)?)
    }
}

fn enter(folder: &OwnedFd, step: &OsStr, make: bool) -> std::result::Result<Option<OwnedFd>, Errno> {
    let open = || rustix::fs::openat(folder.as_fd(), step, FOLDER | OFlags::NOFOLLOW, Mode::empty());
    match open() {
        Ok(next) => return Ok(Some(next)),
        Err(Errno::NOENT) if make => {}
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    }
    match rustix::fs::mkdirat(folder.as_fd(), step, Mode::RWXU) {
        Ok(()) => rustix::fs::fsync(folder.as_fd())?,
        // Somebody else was faster.
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    open().map(Some)
}

fn taken(done: std::result::Result<(), Errno>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const MAKE: OFlags = OFlags::RDWR.union(OFlags::CREATE);

    #[test]
    fn folders_and_files_are_made_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("agents/a/sessions/s.jsonl");
        assert!(Place::find(root.path(), &path, false).unwrap().is_none());
        let place = Place::find(root.path(), &path, true).unwrap().unwrap();
        assert!(place.open(OFlags::RDONLY).unwrap().is_none());
        place.open(MAKE).unwrap().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&root.path().join("agents"))), (0o600, 0o700, 0o700));
    }

    #[test]
    fn links_on_the_way_and_at_the_end_are_not_followed() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(elsewhere.path().join("s.jsonl"), "secret").unwrap();
        symlink(elsewhere.path(), root.path().join("agents")).unwrap();
        symlink(elsewhere.path().join("s.jsonl"), root.path().join("t.jsonl")).unwrap();
        let through = Place::find(root.path(), &root.path().join("agents/s.jsonl"), true);
        assert!(matches!(through, Err(TranscriptError::NotPlain(_))), "{through:?}");
        let place = Place::find(root.path(), &root.path().join("t.jsonl"), true).unwrap().unwrap();
        assert!(matches!(place.open(MAKE), Err(TranscriptError::NotPlain(_))));
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for path in ["/etc/passwd", "", "relative.jsonl"] {
            assert!(matches!(Place::find(root.path(), Path::new(path), true), Err(TranscriptError::Outside(_))), "{path}");
        }
        for inside in ["..", "a/../../b", ""] {
            assert!(Place::find(root.path(), &root.path().join(inside), true).is_err(), "{inside}");
        }
    }

    #[test]
    fn a_folder_or_a_fifo_in_place_of_the_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        let fifo = root.path().join("f");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for name in ["d", "f"] {
            let place = Place::find(root.path(), &root.path().join(name), true).unwrap().unwrap();
            for flags in [OFlags::RDONLY, OFlags::WRONLY, MAKE] {
                assert!(matches!(place.open(flags), Err(TranscriptError::NotPlain(_))), "{name}");
            }
        }
    }
}
