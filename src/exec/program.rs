//! Starts a program that is spoken with: its stdin and both of its outputs stay in our hands.
//!
//! It gets a process group of its own and is told to end when the process that started it does, because such programs end their own commands on TERM and not on KILL.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::Command;

use super::confine::Plan;
use super::isolate::Wrapped;
use super::process::{Leader, SpawnError};

/// A program and the place to run it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path, then its arguments.
    pub words: Vec<OsString>,
    /// The folder to run in.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// What stands before it and shuts it in; nothing when empty.
    pub wrapped: Wrapped,
    /// This program, which ties the other one to its parent; none = it is not tied.
    pub tied_by: Option<PathBuf>,
    /// How early the kernel ends it when memory is short.
    pub oom_score_adj: i32,
}

/// A program that runs and is spoken with.
#[derive(Debug)]
pub struct Talking {
    /// The process.
    pub leader: Leader,
    /// What it reads.
    pub stdin: Sender,
    /// What it says.
    pub stdout: Receiver,
    /// What it says besides.
    pub stderr: Receiver,
}

/// Starts a program.
///
/// # Errors
/// If the folder is not there, or the program cannot be started.
pub fn start(program: &Program) -> Result<Talking, SpawnError> {
    if !program.cwd.is_dir() {
        return Err(SpawnError::Folder { cwd: program.cwd.clone(), why: "is not there" });
    }
    spawn(program).map_err(|source| {
        let shell = program.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        SpawnError::System { shell, source }
    })
}

fn spawn(program: &Program) -> io::Result<Talking> {
    let tie = program.tied_by.as_deref().map(tie).into_iter().flatten();
    let mut words = tie.chain(program.wrapped.words.iter().cloned()).chain(program.words.iter().cloned());
    #[expect(clippy::disallowed_methods, reason = "exec is where programs are started, inside a shim")]
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(&program.cwd).env_clear().envs(&program.env);
    for name in &program.wrapped.without {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(false);
    let mut child = command.spawn()?;
    let lost = || io::Error::other("the program has no pipes");
    let stdin = child.stdin.take().ok_or_else(lost)?.into_owned_fd()?;
    let stdout = child.stdout.take().ok_or_else(lost)?.into_owned_fd()?;
    let stderr = child.stderr.take().ok_or_else(lost)?.into_owned_fd()?;
    if let Some(pid) = child.id() {
        // Where this is not allowed nothing is lost.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), program.oom_score_adj.to_string());
    }
    let (stdin, stdout, stderr) = (Sender::from_owned_fd(stdin)?, Receiver::from_owned_fd(stdout)?, Receiver::from_owned_fd(stderr)?);
    Ok(Talking { leader: Leader::of(vec![child])?, stdin, stdout, stderr })
}

/// The words that tie a program to its parent.
fn tie(own: &Path) -> [OsString; 3] {
    let plan = Plan { end_with_parent: true, ..Plan::default() };
    [own.into(), "confine".into(), plan.to_text().into()]
}

/// The file that a name stands for, as a shell would find it in `PATH`. A name with a slash is a path.
#[must_use]
pub fn find(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let runs = |file: &Path| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|file| runs(file));
    }
    std::env::split_paths(path?).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| runs(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_the_path_and_a_path_stands_for_itself() {
        let path = OsStr::new("relative:/no/such/folder:/bin:/usr/bin");
        assert_eq!(find("sh", Some(path)).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("/bin/sh", None).unwrap(), Path::new("/bin/sh"));
        for (name, path) in [("sh", None), ("no-such-program", Some(path)), ("/etc/passwd", Some(path)), ("/bin", Some(path))] {
            assert_eq!(find(name, path), None, "{name}");
        }
    }
}
