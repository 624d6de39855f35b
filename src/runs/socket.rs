//! Unix sockets that only our user may open: made so that there is no moment at which others could, and found also where a path is longer than a socket address.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};

/// The kernel's field of a socket address, less its end mark.
pub const LONGEST_ADDRESS: usize = 107;
/// Connections that wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;

/// Connects to a socket.
///
/// # Errors
/// `ConnectionRefused` or `NotFound` if nobody listens there.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (address, _folder) = address(path)?;
    UnixStream::connect(address).await
}

/// Opens a socket of a run at this path and makes the folders that are missing, 0700. Whoever opens it holds the run's journal, so a socket of this name is left over from a process that died.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    bind(path)
}

/// Listens at this path, for our user alone (0600), in place of what is there. It gets its name when it is private and listens, so whoever finds it can connect.
///
/// # Errors
/// What the system says.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let (address, _folder) = address(path)?;
    let newborn = newborn(&address).ok_or(io::ErrorKind::InvalidInput)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux gives a socket's file the mode that the socket has.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let _ = std::fs::remove_file(&newborn);
    rustix::net::bind(&socket, &SocketAddrUnix::new(&newborn)?)?;
    let listening = rustix::net::listen(&socket, BACKLOG).map_err(io::Error::from).and_then(|()| std::fs::rename(&newborn, &address));
    if let Err(failed) = listening {
        let _ = std::fs::remove_file(&newborn);
        return Err(failed);
    }
    UnixListener::from_std(socket.into())
}

/// Removes what is left of a socket at this path: its file, and the one that it had before it listened, for who dies between the two.
pub fn remove(path: &Path) {
    let newborn = newborn(path);
    for name in [Some(path), newborn.as_deref()].into_iter().flatten() {
        // If it is gone already, that is what was wanted.
        let _ = std::fs::remove_file(name);
    }
}

/// A path for `path` that fits into a socket address: long ones go through the descriptor of their folder, which must stay open meanwhile.
///
/// # Errors
/// If the folder of a long path cannot be opened.
pub fn address(path: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() <= LONGEST_ADDRESS {
        return Ok((path.to_owned(), None));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name), Some(folder)))
}

/// A hidden name beside `path`, and as long, so that it fits wherever that does. Names of sockets in one folder differ behind their first letter, so these do too.
fn newborn(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.as_bytes().to_vec();
    *name.first_mut()? = b'.';
    Some(path.with_file_name(OsString::from_vec(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn nothing_is_left_of_a_socket_whose_process_died_at_whatever_moment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.sock");
        let _listener = bind(&path).unwrap();
        // Killed before it had its name.
        std::fs::write(newborn(&path).unwrap(), "").unwrap();
        remove(&path);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        remove(&path);
    }

    #[tokio::test]
    async fn a_socket_with_a_long_path_can_be_bound_and_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120)).join("y".repeat(120));
        let path = deep.join("run.sock");
        let _listener = open(&path).unwrap();
        assert!(connect(&path).await.is_ok());
        assert_eq!(connect(&deep.join("none")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 1);
    }

    /// Before, whoever looked in the moment between name and mode found it open to others, and in the moment between name and listening was turned away.
    #[tokio::test]
    async fn whoever_finds_a_socket_finds_it_private_and_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.sock");
        let done = AtomicBool::new(false);
        let mut listeners = Vec::new();
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut wrong = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let Ok(meta) = path.symlink_metadata() else { continue };
                    if meta.permissions().mode() & 0o777 != 0o600 {
                        wrong.push(format!("{:o}", meta.permissions().mode()));
                    }
                    // The listeners live on, so whatever had the name lets in.
                    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
                    match rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap()) {
                        // Nobody accepts here, so the queue may be full.
                        Ok(()) | Err(rustix::io::Errno::AGAIN) => {}
                        Err(failed) => wrong.push(failed.to_string()),
                    }
                }
                wrong
            });
            for _ in 0..500 {
                listeners.push(bind(&path).unwrap());
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(looking.join().unwrap(), Vec::<String>::new());
        });
        // The queue of the last one may be full of those who looked.
        listeners.push(bind(&path).unwrap());
        connect(&path).await.unwrap();
    }

    #[test]
    fn a_name_for_the_time_before_is_as_long_and_in_the_same_folder() {
        assert_eq!(newborn(Path::new("/a/gateway.sock")), Some(PathBuf::from("/a/.ateway.sock")));
        assert_eq!(newborn(Path::new("/")), None);
    }
}
