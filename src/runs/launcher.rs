//! Starts a run's shim, and tells whether one still works.
//!
//! The daemon opens the journal and takes its lock *before* the spawn and hands that open file over as the shim's stdout. The lock belongs to the open file, so there is no moment in which a run that is starting looks dead.
//! The shim's stdin is a socket pair: the spec goes first, and the same stream is the first control connection.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::control::{RunSpec, send};
use super::orphans::Children;
use crate::audit::AuditError;
use crate::exec::process::is_shortage;
use crate::journal::close::{open_journal, try_lock};

/// Why a shim did not start. The work has not begun.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program could not be started.
    #[error("start the run's process: {0}")]
    Spawn(#[source] io::Error),
    /// It was started and went away, or did not take its task.
    #[error("hand the task to the run's process: {0}")]
    HandOver(#[source] io::Error),
    /// It was not given its task, because the record of it could not be written.
    #[error(transparent)]
    Unrecorded(AuditError),
}

impl LaunchError {
    /// Whether there was no room for the process; a later attempt may do.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Spawn(cause) if is_shortage(cause))
    }
}

/// Starts shims.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program that is the shim when called with the argument `shim`.
    pub program: PathBuf,
    /// Where shims write what nobody else would hear; shared and appended to.
    pub log: PathBuf,
    /// The register of children that are ours.
    pub children: Children,
}

/// A shim that has its task.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: u32,
    /// The first control connection; its end means that the shim is gone.
    pub control: UnixStream,
    /// The process; it must be waited for.
    pub child: ShimChild,
}

/// A shim as a child process. Dropping it leaves the shim alive.
#[derive(Debug)]
pub struct ShimChild {
    child: Child,
    pid: u32,
    children: Children,
}

impl ShimChild {
    /// Waits for the shim's end and reaps it. Safe to cancel and to call again.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.children.remove(self.pid);
        Ok(status)
    }

    /// Kills the shim at once, without letting it end its run.
    ///
    /// # Errors
    /// If it is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.start_kill()
    }
}

impl Launcher {
    /// A launcher of this very program, with the shims' log at `<state_dir>/logs/shim.log`.
    ///
    /// # Errors
    /// If the path of this program cannot be found out.
    pub fn of_this_program(state_dir: &Path, children: Children) -> io::Result<Self> {
        Ok(Self { program: this_program()?, log: state_dir.join("logs").join("shim.log"), children })
    }

    /// Starts a shim with `spec`, writing to `journal`, which is empty and locked ([`create_journal`]).
    /// It gets its task, without which it can do nothing, only when `recorded` has come back well; that is waited for while the process starts.
    ///
    /// # Errors
    /// If the process cannot be started or does not take the spec, or there is no record of it. An empty journal then says that nothing ran.
    pub async fn start(
        &self,
        spec: &RunSpec,
        journal: File,
        recorded: impl Future<Output = Result<(), AuditError>>,
    ) -> Result<Started, LaunchError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(LaunchError::Spawn)?;
        ours.set_nonblocking(true).map_err(LaunchError::Spawn)?;
        let mut control = UnixStream::from_std(ours).map_err(LaunchError::Spawn)?;
        // The record is on its way first: the disk works while the kernel does.
        let (recorded, spawned) = tokio::join!(biased; recorded, async { self.spawn(theirs.into(), journal) });
        let (child, pid) = spawned.map_err(LaunchError::Spawn)?;
        let mut child = ShimChild { child, pid, children: self.children.clone() };
        if let Err(cause) = recorded {
            drop(control);
            // A shim whose stream ends without a task goes away by itself.
            let _ = child.wait().await;
            return Err(LaunchError::Unrecorded(cause));
        }
        send(&mut control, spec).await.map_err(LaunchError::HandOver)?;
        Ok(Started { pid, control, child })
    }

    fn spawn(&self, stdin: OwnedFd, journal: File) -> io::Result<(Child, u32)> {
        #[expect(clippy::disallowed_methods, reason = "the launcher is where shims are started")]
        let mut command = Command::new(&self.program);
        // No group of its own: setsid, the shim's first act, fails for the leader of a group. No environment either, because any process of the same user can read it.
        command.arg("shim").env_clear().current_dir("/").kill_on_drop(false);
        command.stdin(Stdio::from(stdin)).stdout(Stdio::from(journal)).stderr(self.open_log());
        self.children.spawn(|| {
            let child = command.spawn()?;
            let pid = child.id().ok_or_else(|| io::Error::other("the process ended while it was started"))?;
            Ok((child, pid))
        })
    }

    /// A shim must run even if nothing can be logged.
    fn open_log(&self) -> Stdio {
        if let Some(dir) = self.log.parent() {
            // If this fails, so does the next call, which decides.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log).map_or_else(|_| Stdio::null(), Stdio::from)
    }
}

/// The path of this program, also after an upgrade has replaced the file: the kernel then adds ` (deleted)`, and the new file under the old name is the one to start.
///
/// # Errors
/// The kernel does not say.
pub fn this_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let replaced = path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.filter(|path| path.exists()).unwrap_or(path))
}

/// Creates a run's journal (0600, folders 0700) and takes its lock.
///
/// # Errors
/// `AlreadyExists` if it has content, so that work that may have run is never run again; `WouldBlock` if somebody holds the lock; else what the file system says.
pub fn create_journal(path: &Path) -> io::Result<File> {
    let file = open_journal(path)?;
    if !try_lock(&file)? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "the journal is locked"));
    }
    if file.metadata()?.len() != 0 {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the journal has content"));
    }
    Ok(file)
}

/// Whether somebody holds the journal's lock, which is to say that its shim lives. A missing journal is not locked.
///
/// The look takes a shared lock for a moment, so a closer at the same time may find the journal busy and must try again.
///
/// # Errors
/// If the file cannot be opened.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(failed) => return Err(failed),
    };
    // A shared lock, so that two who look do not take each other for a shim.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(failed) => Err(failed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free::once_free;

    #[test]
    fn a_journal_is_created_locked_and_never_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/2026-11/f.ndjson");
        assert!(!is_locked(&path).unwrap());
        let journal = create_journal(&path).unwrap();
        assert!(is_locked(&path).unwrap());
        assert_eq!(create_journal(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(journal);
        once_free(|| (!is_locked(&path).unwrap()).then_some(()));
        std::fs::write(&path, "{}\n").unwrap();
        let again = once_free(|| Some(create_journal(&path).unwrap_err().kind()).filter(|kind| *kind != io::ErrorKind::WouldBlock));
        assert_eq!(again, io::ErrorKind::AlreadyExists);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_spawn_error_and_the_lock_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let launcher = Launcher { program: dir.path().join("none"), log: dir.path().join("log"), children: Children::default() };
        let path = dir.path().join("j");
        let spec = crate::runs::control::tests::sample_spec();
        let failed = launcher.start(&spec, create_journal(&path).unwrap(), std::future::ready(Ok(()))).await.unwrap_err();
        assert!(matches!(failed, LaunchError::Spawn(_)));
        once_free(|| (!is_locked(&path).unwrap()).then_some(()));
    }
}
