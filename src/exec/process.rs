//! Starts one command in a process group of its own, with its two output pipes in our hands.
//!
//! No signal is blocked and nothing is done between fork and exec, so that the standard library can use `posix_spawn` and the command gets a clean signal state.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, Command};

use super::isolate::Wrapped;
use super::terminal::{self, Terminal};

/// Wanted size of a pipe in bytes: the kernel's buffer between a flood and our reads.
const PIPE_BYTES: usize = 256 * 1024;
/// Under memory pressure commands go first, then the process that hosts them.
pub const OOM_SCORE_ADJ: i32 = 500;
/// The kernel takes no argument longer than 128 KiB; a longer script goes another way, in bytes.
const MAX_ARGUMENT: usize = 100 * 1024;
/// Reads the whole script from stdin before running it, so that the script finds its stdin at its end, as a short one does.
const SCRIPT_FROM_STDIN: &str = r#"eval "$(cat)""#;

/// What [`is_shortage`] means for whoever wanted a process.
pub const NO_ROOM: &str =
    "there is no room for another process now: try again when others have ended, or raise the limit of tasks or of memory";

/// A script and the place to run it.
#[derive(Clone, Debug)]
pub struct Script {
    /// The shell, a path or a name.
    pub shell: String,
    /// What it runs.
    pub text: String,
    /// The folder to run in.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// What stands before the shell and shuts it in; nothing when empty.
    pub wrapped: Wrapped,
    /// How early the kernel ends it when memory is short.
    pub oom_score_adj: i32,
}

/// Why a command did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The folder is missing or not a folder.
    #[error("the folder {} {why}", .cwd.display())]
    Folder {
        /// The folder.
        cwd: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The text holds a NUL byte, which no argument can.
    #[error("the script has a NUL byte in it")]
    Nul,
    /// The system refuses.
    #[error("the shell {shell} cannot be started: {source}")]
    System {
        /// The shell.
        shell: String,
        /// Why.
        source: io::Error,
    },
}

/// Whether a process could not be started because there was no room for it: no process, no memory or no descriptor is left, of the machine's or of those that this user or this process may have.
#[must_use]
pub fn is_shortage(cause: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(cause), Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}

impl SpawnError {
    /// Whether there was no room for it ([`is_shortage`]); a later attempt may do.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::System { source, .. } if is_shortage(source))
    }
}

/// A command that runs, with the reading ends of its pipes.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub leader: Leader,
    /// Its stdout.
    pub stdout: Receiver,
    /// Its stderr.
    pub stderr: Receiver,
    /// Where to type, if it has a terminal that takes something.
    pub terminal: Option<Sender>,
}

/// The processes of a command, in a process group of their own, which the first one leads. All but planned pipelines are one process.
#[derive(Debug)]
pub struct Leader {
    children: Vec<Child>,
    pids: Vec<u32>,
}

impl Leader {
    /// The leader of these processes' group, which stand in the order of a pipeline.
    pub(super) fn of(children: Vec<Child>) -> io::Result<Self> {
        let pids: Vec<u32> = children.iter().filter_map(Child::id).collect();
        if pids.is_empty() || pids.len() != children.len() {
            return Err(io::Error::other("the command ended while it was started"));
        }
        Ok(Self { children, pids })
    }

    /// The process id of the first, which is also the id of the group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pids.first().copied().unwrap_or_default()
    }

    /// The process ids, which nobody else may reap.
    #[must_use]
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Waits for the end of all and reaps them; the last one's status is the command's. Safe to cancel and to call again.
    ///
    /// # Errors
    /// If one cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let mut last = Err(io::ErrorKind::NotFound.into());
        for child in &mut self.children {
            last = Ok(child.wait().await?);
        }
        last
    }

    /// Signals the whole group, unless all have been reaped: then the number could be a stranger's.
    pub fn signal_group(&self, signal: Signal) {
        let holds = self.children.iter().any(|child| child.id().is_some());
        if let Some(group) = i32::try_from(self.pid()).ok().filter(|_| holds).and_then(Pid::from_raw) {
            // A group that is gone has what it should.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// Starts a script. Its stdin is at its end from the start.
///
/// # Errors
/// If the folder is not there, or the shell cannot be started.
pub fn spawn(script: &Script) -> Result<Running, SpawnError> {
    spawn_fed(script, None)
}

/// Starts a script on a terminal of its own; `program` is this program. A script that is too long for an argument is refused there.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_on_terminal(script: &Script, program: &Path) -> Result<Running, SpawnError> {
    spawn_with(script, Input::Terminal(program))
}

/// Starts a script that reads `stdin`. A script that is too long for an argument reads nothing: it takes that way itself.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_fed(script: &Script, stdin: Option<OwnedFd>) -> Result<Running, SpawnError> {
    spawn_with(script, Input::Fed(stdin))
}

/// What a script reads from.
enum Input<'a> {
    /// This, or nothing.
    Fed(Option<OwnedFd>),
    /// A terminal, with the program that gives it to the script.
    Terminal(&'a Path),
}

fn spawn_with(script: &Script, input: Input<'_>) -> Result<Running, SpawnError> {
    // Checked beforehand, because a missing folder and a missing program give the same error.
    match std::fs::metadata(&script.cwd) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(SpawnError::Folder { cwd: script.cwd.clone(), why: "is not a folder" }),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            return Err(SpawnError::Folder { cwd: script.cwd.clone(), why: "does not exist" });
        }
        Err(_) => return Err(SpawnError::Folder { cwd: script.cwd.clone(), why: "cannot be entered" }),
    }
    if script.text.contains('\0') {
        return Err(SpawnError::Nul);
    }
    let started = match input {
        Input::Fed(stdin) => start(script, stdin),
        Input::Terminal(program) => start_on_terminal(script, program),
    };
    started.map_err(|source| SpawnError::System { shell: script.shell.clone(), source })
}

fn start(script: &Script, stdin: Option<OwnedFd>) -> io::Result<Running> {
    let (stdin, argument) = if script.text.len() > MAX_ARGUMENT {
        (Stdio::from(in_memory(&script.text)?), SCRIPT_FROM_STDIN)
    } else {
        (stdin.map_or_else(Stdio::null, Stdio::from), script.text.as_str())
    };
    let mut command = command(script, &[], argument);
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(false);
    let mut child = command.spawn()?;
    let lost = || io::Error::other("the command has no output pipe");
    let stdout = child.stdout.take().ok_or_else(lost)?.into_owned_fd()?;
    let stderr = child.stderr.take().ok_or_else(lost)?.into_owned_fd()?;
    running(Leader::of(vec![child])?, stdout, stderr, script.oom_score_adj)
}

fn start_on_terminal(script: &Script, program: &Path) -> io::Result<Running> {
    if script.text.len() > MAX_ARGUMENT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a script of this length has no terminal; write it to a file first"));
    }
    let terminal = Terminal::open()?;
    let child = {
        let mut command = command(script, &terminal::step(program), &script.text);
        // It founds a session and so a group of its own; one that leads a group already could not.
        command.stdin(terminal.end()?).stdout(terminal.end()?).stderr(terminal.end()?).kill_on_drop(false);
        command.spawn()?
    };
    less_dear(child.id().as_slice(), script.oom_score_adj);
    terminal.running(child, true)
}

/// The shell with a script, behind these words and those that shut it in.
fn command(script: &Script, before: &[OsString], argument: &str) -> Command {
    let words = before.iter().chain(&script.wrapped.words).map(OsString::as_os_str);
    let mut words = words.chain([OsStr::new(&script.shell), OsStr::new("-c"), OsStr::new(argument)]);
    #[expect(clippy::disallowed_methods, reason = "exec is where commands are started, inside a shim")]
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(&script.cwd).env_clear().envs(&script.env);
    for name in &script.wrapped.without {
        command.env_remove(name);
    }
    command
}

/// A command that was started, with the reading ends of its pipes.
pub(super) fn running(leader: Leader, stdout: OwnedFd, stderr: OwnedFd, oom_score_adj: i32) -> io::Result<Running> {
    for pipe in [&stdout, &stderr] {
        // Refused when the user has many large pipes; the default size is only slower.
        let _ = fcntl_setpipe_size(pipe, PIPE_BYTES);
    }
    less_dear(leader.pids(), oom_score_adj);
    Ok(Running { leader, stdout: Receiver::from_owned_fd(stdout)?, stderr: Receiver::from_owned_fd(stderr)?, terminal: None })
}

/// Says how early the kernel ends these processes when memory is short.
pub(super) fn less_dear(pids: &[u32], oom_score_adj: i32) {
    for pid in pids {
        // Where this is not allowed nothing is lost.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), oom_score_adj.to_string());
    }
}

/// A file without a name that holds `text`, ready to be read.
fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("script", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(shell: &str, cwd: &str, text: &str) -> Script {
        let (wrapped, oom_score_adj) = (Wrapped::default(), OOM_SCORE_ADJ);
        Script { shell: shell.into(), text: text.into(), cwd: cwd.into(), env: BTreeMap::new(), wrapped, oom_score_adj }
    }

    #[tokio::test]
    async fn m74_a_folder_that_is_not_there_or_no_folder_is_named() {
        let gone = spawn(&script("/bin/sh", "/no/such/folder", "true")).unwrap_err().to_string();
        assert_eq!(gone, "the folder /no/such/folder does not exist");
        let file = spawn(&script("/bin/sh", "/etc/passwd", "true")).unwrap_err().to_string();
        assert_eq!(file, "the folder /etc/passwd is not a folder");
    }

    #[tokio::test]
    async fn m77_a_shell_that_is_not_there_and_a_nul_byte_are_distinct_errors() {
        let shell = spawn(&script("/no/such/shell", "/", "true")).unwrap_err();
        assert!(matches!(shell, SpawnError::System { .. }) && shell.to_string().contains("/no/such/shell"));
        assert!(matches!(spawn(&script("/bin/sh", "/", "a\0b")).unwrap_err(), SpawnError::Nul));
    }

    #[test]
    fn m91_only_what_is_used_up_counts_as_a_shortage() {
        use rustix::io::Errno;
        let system = |errno: Errno| SpawnError::System { shell: "sh".to_owned(), source: errno.into() };
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert!(system(errno).is_shortage(), "{errno}");
        }
        assert!(!system(Errno::NOENT).is_shortage() && !SpawnError::Nul.is_shortage());
        assert!(!is_shortage(&io::Error::new(io::ErrorKind::WouldBlock, "a lock")), "it is the kernel that says so");
    }

    #[tokio::test]
    async fn m77_a_script_longer_than_an_argument_may_be_still_runs() {
        let text = format!("# {}\nread -r line || exit 7", "x".repeat(300 * 1024));
        let mut running = spawn(&script("/bin/sh", "/", &text)).unwrap();
        assert_eq!(running.leader.wait().await.unwrap().code(), Some(7));
    }
}
