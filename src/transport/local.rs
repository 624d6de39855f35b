//! The local socket: the same frames, one per line, for processes of our own user.
//!
//! This is the only place where being local means being trusted, and the kernel vouches for it: the file is private, and the uid of each peer is asked for and must be ours or root's.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::runs::socket::{self, LONGEST_ADDRESS};
use crate::tasks::Tasks;
use crate::transport::admission::Admission;
use crate::transport::ndjson;
use crate::transport::rest::Rest;
use crate::transport::wire::{Framing, Link, MessageReader, Peer, ReadLimits, Serve};

/// A bound local socket. Dropping it removes the file, if it is still ours.
pub struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl LocalListener {
    /// Binds `path` with mode 0600. A socket file left there by a dead process is replaced; any other file is an error.
    ///
    /// # Errors
    /// What the kernel says, `AlreadyExists` for a file that is no socket.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is not a socket"));
            }
            _ => {}
        }
        if path.as_os_str().len() > LONGEST_ADDRESS {
            // Clients look for it by this path.
            return Err(io::Error::new(ErrorKind::InvalidInput, "the path is too long for a socket; choose a shorter state directory"));
        }
        let listener = socket::bind(path)?;
        let inode = fs::symlink_metadata(path)?.ino();
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Accepts until `stop`; each connection is served as a task of `tasks`.
pub(crate) async fn serve_local(
    local: LocalListener,
    serve: Arc<dyn Serve>,
    limits: watch::Receiver<ReadLimits>,
    admission: Arc<Admission>,
    tasks: Tasks,
    stop: CancellationToken,
) {
    let mut rest = Rest::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = local.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                rest.after(&error, &stop).await;
                continue;
            }
        };
        let Some(peer) = trusted_peer(&stream) else { continue };
        let (read, write) = stream.into_split();
        let link = Link {
            reader: MessageReader::Lines(ndjson::Reader::new(Box::new(read), &limits.borrow())),
            writer: Box::new(write),
            framing: Framing::Lines,
            peer,
            origin: None,
            host: None,
            user_agent: None,
            guard: admission.enter_local(),
        };
        tasks.spawn("local connection", Arc::clone(&serve).serve(link));
    }
}

/// The peer, if it may come in.
fn trusted_peer(stream: &UnixStream) -> Option<Peer> {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred().map(|peer| (peer.uid(), peer.pid())) {
        Ok((uid, pid)) if is_trusted(uid, own) => Some(Peer::Local { uid, pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0) }),
        Ok((uid, _)) => {
            warn!(uid, "a process of another user was refused on the local socket");
            None
        }
        Err(error) => {
            warn!(%error, "a local peer without a uid was refused");
            None
        }
    }
}

/// Our own user, and root, who could read everything of ours anyway.
fn is_trusted(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_socket_is_private_replaces_a_stale_one_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.sock");
        // The listener of a dead process: the file stays behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = LocalListener::bind(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        UnixStream::connect(&path).await.unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["gateway.sock"]);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_kept_and_a_newer_socket_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.sock");
        fs::write(&path, "precious").unwrap();
        assert_eq!(LocalListener::bind(&path).err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let old = LocalListener::bind(&path).unwrap();
        let _new = LocalListener::bind(&path).unwrap();
        drop(old);
        assert!(path.exists(), "the file belongs to the newer one");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_or_has_no_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(LocalListener::bind(&dir.path().join("absent/gateway.sock")).is_err());
        let long = dir.path().join("x".repeat(120));
        fs::create_dir(&long).unwrap();
        assert_eq!(LocalListener::bind(&long.join("gateway.sock")).err().unwrap().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn only_our_user_and_root_are_trusted() {
        assert!(is_trusted(1000, 1000));
        assert!(is_trusted(0, 1000));
        assert!(!is_trusted(1001, 1000));
        assert!(!is_trusted(1000, 0), "root's gateway is root's");
    }
}
