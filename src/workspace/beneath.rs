//! Files beneath a directory, opened so that no link and no `..` leads out of it, and judged by what was opened.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// How files are opened: never waiting for the other end of a pipe, never through a link.
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its size in bytes.
    pub size: u64,
    /// When it was changed, ms since the epoch.
    pub updated_at_ms: u64,
}

impl Dir {
    /// Opens the directory; the path itself may have links, because the configuration names it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd })
    }

    /// What is known of a plain file; `None` if it is not there.
    ///
    /// # Errors
    /// It is a link or no plain file, or what the file system says.
    pub fn facts(&self, relative: &Path) -> io::Result<Option<Facts>> {
        Ok(self.plain(relative)?.map(|(_, facts)| facts))
    }

    /// Reads a plain file; `None` if it is not there.
    ///
    /// # Errors
    /// It is a link, no plain file, or larger than `most` bytes, or what the file system says.
    pub fn read(&self, relative: &Path, most: u64) -> io::Result<Option<(Vec<u8>, Facts)>> {
        let Some((file, facts)) = self.plain(relative)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {most} bytes")));
        }
        Ok(Some((bytes, facts)))
    }

    /// Puts a file in place, whole or not at all, and on the disk. One that is there keeps its mode; a new one gets 0600.
    ///
    /// # Errors
    /// A link or something that is no plain file is in its place, or what the file system says.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mode = match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                check(&stat)?;
                Mode::from_raw_mode(stat.st_mode & 0o777)
            }
            Err(Errno::NOENT) => Mode::RUSR | Mode::WUSR,
            Err(errno) => return Err(errno.into()),
        };
        let draft = format!(".{name}.{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.fd, draft.as_str(), flags, mode)?);
        let written = (|| {
            file.write_all(bytes)?;
            rustix::fs::fchmod(&file, mode)?;
            file.sync_all()?;
            rustix::fs::renameat(&self.fd, draft.as_str(), &self.fd, name)?;
            Ok(rustix::fs::fsync(&self.fd)?)
        })();
        if written.is_err() {
            // What is half written must not stay; that it may not go either changes nothing.
            let _ = rustix::fs::unlinkat(&self.fd, draft.as_str(), AtFlags::empty());
        }
        written
    }

    /// The directory at this path beneath this one, with no link on the way; made, mode 0700, with all those above it if `make` says so.
    ///
    /// # Errors
    /// A link or no directory is on the way, or what the file system says.
    pub fn below(&self, relative: &Path, make: bool) -> io::Result<Self> {
        let mut at = self.fd.as_fd().try_clone_to_owned()?;
        for component in relative.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::CurDir => continue,
                _ => return Err(is_link()),
            };
            if make {
                match rustix::fs::mkdirat(&at, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            at = rustix::fs::openat(&at, name, LOOK | OFlags::DIRECTORY, Mode::empty()).map_err(|errno| match errno {
                Errno::LOOP | Errno::NOTDIR => is_link(),
                errno => errno.into(),
            })?;
        }
        Ok(Self { fd: at })
    }

    /// Removes a plain file.
    ///
    /// # Errors
    /// It is not there, is a link or no plain file, or what the file system says.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        check(&rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)?;
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Where the directory is, whatever name it was opened by.
    ///
    /// # Errors
    /// What the file system says.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    fn plain(&self, relative: &Path) -> io::Result<Option<(File, Facts)>> {
        let fd = match self.look(relative) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR) => return Err(is_link()),
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&fd)?;
        check(&stat)?;
        Ok(Some((File::from(fd), facts_of(&stat))))
    }

    fn look(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, relative, LOOK, Mode::empty(), resolve) {
            // Kernels before 5.6 do not have it, and some sandboxes do not let it through.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(relative),
            opened => opened,
        }
    }

    /// The same step by step.
    fn walk(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let mut names = Vec::new();
        for component in relative.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => return Err(Errno::XDEV),
            }
        }
        let Some((last, above)) = names.split_last() else { return Err(Errno::ISDIR) };
        let mut at = self.fd.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        for name in above {
            at = rustix::fs::openat(&at, *name, LOOK | OFlags::DIRECTORY, Mode::empty())?;
        }
        rustix::fs::openat(&at, *last, LOOK, Mode::empty())
    }
}

fn check(stat: &Stat) -> io::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        // A second name can stand anywhere on the file system, also beside what nobody here may read.
        FileType::RegularFile if stat.st_nlink > 1 => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "has another name somewhere (a hard link); only files with one name are read and written",
        )),
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(is_link()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "is no plain file")),
    }
}

fn is_link() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "is a link, or leads out of the workspace; links are not followed")
}

fn facts_of(stat: &Stat) -> Facts {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let millis = u64::from(u32::try_from(stat.st_mtime_nsec).unwrap_or(0)) / 1_000_000;
    Facts { size: u64::try_from(stat.st_size).unwrap_or(0), updated_at_ms: seconds.saturating_mul(1000).saturating_add(millis) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn place() -> (tempfile::TempDir, Dir) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("w")).unwrap();
        std::fs::create_dir(dir.path().join("w/sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        let opened = Dir::open(&dir.path().join("w")).unwrap();
        (dir, opened)
    }

    /// By the kernel's own call and by the way without it.
    fn both(dir: &Dir, relative: &str) -> [Result<OwnedFd, Errno>; 2] {
        [dir.look(Path::new(relative)), dir.walk(Path::new(relative))]
    }

    #[test]
    fn m80_nothing_leads_out_by_either_way() {
        let (place, dir) = place();
        let w = place.path().join("w");
        symlink("../secret", w.join("link")).unwrap();
        symlink("..", w.join("up")).unwrap();
        std::fs::write(w.join("sub/file"), "in").unwrap();
        symlink("file", w.join("sub/alias")).unwrap();
        let absolute = place.path().join("secret");
        for path in ["link", "up/secret", "../secret", "sub/../../secret", absolute.to_str().unwrap(), "sub/alias", "sub/file/x"] {
            for opened in both(&dir, path) {
                assert!(opened.is_err(), "{path}");
            }
            assert!(dir.read(Path::new(path), 100).is_err(), "{path}");
        }
        for opened in both(&dir, "sub/file") {
            assert!(opened.is_ok());
        }
        assert_eq!(dir.read(Path::new("sub/file"), 100).unwrap().unwrap().0, b"in");
        assert_eq!(dir.read(Path::new("sub/none"), 100).unwrap(), None);
    }

    #[test]
    fn m80_only_plain_files_of_a_bounded_size_are_read_and_a_pipe_hangs_nobody() {
        let (place, dir) = place();
        rustix::fs::mknodat(rustix::fs::CWD, place.path().join("w/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(dir.read(Path::new("pipe"), 100).unwrap_err().to_string().contains("no plain file"));
        assert!(dir.facts(Path::new("sub")).unwrap_err().to_string().contains("no plain file"));
        std::fs::write(place.path().join("w/big"), "12345").unwrap();
        assert!(dir.read(Path::new("big"), 4).unwrap_err().to_string().contains("larger than 4 bytes"));
        let facts = dir.facts(Path::new("big")).unwrap().unwrap();
        assert!(facts.size == 5 && facts.updated_at_ms > 1_600_000_000_000, "{facts:?}");
    }

    #[test]
    fn a_write_is_whole_keeps_the_mode_and_refuses_a_link() {
        let (place, dir) = place();
        let w = place.path().join("w");
        dir.write("new", b"one").unwrap();
        assert_eq!(w.join("new").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(w.join("new"), std::fs::Permissions::from_mode(0o644)).unwrap();
        dir.write("new", b"two").unwrap();
        assert_eq!(std::fs::read_to_string(w.join("new")).unwrap(), "two");
        assert_eq!(w.join("new").metadata().unwrap().permissions().mode() & 0o777, 0o644);
        symlink("../secret", w.join("link")).unwrap();
        assert!(dir.write("link", b"x").unwrap_err().to_string().contains("links are not followed"));
        assert!(dir.write("sub", b"x").is_err());
        assert_eq!(std::fs::read_to_string(place.path().join("secret")).unwrap(), "outside");
        let left: Vec<_> = std::fs::read_dir(&w).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn m80_a_file_with_a_second_name_is_neither_read_nor_replaced() {
        let (place, dir) = place();
        std::fs::hard_link(place.path().join("secret"), place.path().join("w/alias")).unwrap();
        assert!(dir.read(Path::new("alias"), 100).unwrap_err().to_string().contains("hard link"));
        assert!(dir.write("alias", b"x").unwrap_err().to_string().contains("hard link"));
        assert_eq!(std::fs::read_to_string(place.path().join("secret")).unwrap(), "outside");
    }

    #[test]
    fn m80_a_file_that_becomes_a_link_at_any_moment_never_leads_out() {
        const SWAPS: usize = 20_000;
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
        let (place, dir) = place();
        let w = place.path().join("w");
        let (done, met) = (std::sync::atomic::AtomicBool::new(false), std::sync::atomic::AtomicBool::new(false));
        let (mut read, mut refused) = (0, 0);
        let began = std::time::Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Either name may be there, and neither, when it is looked at.
                for round in 0.. {
                    // On until both were met: either thread may be held up while the other one makes all its rounds.
                    if round >= SWAPS / 2 && (met.load(Ordering::Relaxed) || began.elapsed() > PATIENCE) {
                        break;
                    }
                    std::fs::write(w.join("swapped"), "inside").unwrap();
                    std::fs::remove_file(w.join("swapped")).unwrap();
                    symlink("../secret", w.join("swapped")).unwrap();
                    std::fs::remove_file(w.join("swapped")).unwrap();
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                match dir.read(Path::new("swapped"), 100) {
                    Ok(Some((bytes, _))) => {
                        assert!(bytes.is_empty() || bytes == b"inside", "{bytes:?}");
                        read += 1;
                    }
                    Ok(None) => {}
                    Err(_) => refused += 1,
                }
                met.store(read > 0 && refused > 0, Ordering::Relaxed);
            }
        });
        assert!(read > 0 && refused > 0, "the race was none: {read} read, {refused} refused");
    }
}
