//! Starts a plan: the programs that were decided about, without a shell.
//!
//! Every file is held by a descriptor and executed through it, so what was looked at is what runs, whoever turns its name around meanwhile; the folder is entered in the same way. The pipes between the stages are ours, the first one reads from `/dev/null`, and a new file is the user's alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{MemfdFlags, Mode, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::process::{Child, Command};

use super::isolate::Wrapped;
use super::policy::plan::Plan;
use super::policy::recheck::{Ready, ReadyStage, recheck};
use super::policy::trust::Trust;
use super::process::{Leader, Running, SpawnError, less_dear, running};
use super::terminal::{self, Terminal};
use crate::protocol::run::Denied;

/// Rights that a new file does not get.
const MASK: Mode = Mode::RWXG.union(Mode::RWXO);

/// Why a plan did not start. Nothing of it runs.
#[derive(Debug)]
pub enum PlannedError {
    /// Something is not as it was decided about.
    Denied(Denied),
    /// The system refuses.
    Spawn(SpawnError),
}

/// Compares a plan with what is there now, and starts it. Its stdin is at its end from the start. `wrapped` is what shuts it in: its words stand before each program and then become it.
///
/// # Errors
/// Something has changed, or a program cannot be started; then none of them runs on.
pub fn spawn(
    plan: &Plan,
    env: &BTreeMap<String, String>,
    trust: &Trust,
    wrapped: &Wrapped,
    oom_score_adj: i32,
) -> Result<Running, PlannedError> {
    spawn_fed(plan, env, trust, wrapped, oom_score_adj, None)
}

/// The same with something to read for the first program.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_fed(
    plan: &Plan,
    env: &BTreeMap<String, String>,
    trust: &Trust,
    wrapped: &Wrapped,
    oom_score_adj: i32,
    stdin: Option<OwnedFd>,
) -> Result<Running, PlannedError> {
    let ready = recheck(plan, env, trust).map_err(PlannedError::Denied)?;
    let mask = rustix::process::umask(MASK);
    let started = Start { ready: &ready, env, wrapped, oom_score_adj }.all(stdin);
    rustix::process::umask(mask);
    started.map_err(|source| {
        let shell = plan.stages.iter().filter_map(|stage| stage.argv.first()).cloned().collect::<Vec<_>>().join(" | ");
        PlannedError::Spawn(SpawnError::System { shell, source })
    })
}

/// The same on a terminal on which nobody types, because what was decided about reads nothing; `program` is this program. Only for one program: those of a pipeline cannot share a session that each of them would have to found.
///
/// # Errors
/// As [`spawn`]; a pipeline.
pub fn spawn_on_terminal(
    plan: &Plan,
    env: &BTreeMap<String, String>,
    trust: &Trust,
    wrapped: &Wrapped,
    oom_score_adj: i32,
    program: &Path,
) -> Result<Running, PlannedError> {
    let ready = recheck(plan, env, trust).map_err(PlannedError::Denied)?;
    let words = terminal::step(program).into_iter().chain(wrapped.words.iter().cloned()).collect();
    let wrapped = Wrapped { words, without: wrapped.without.clone() };
    let mask = rustix::process::umask(MASK);
    let started = Start { ready: &ready, env, wrapped: &wrapped, oom_score_adj }.on_terminal();
    rustix::process::umask(mask);
    started.map_err(|source| {
        let shell = plan.stages.iter().filter_map(|stage| stage.argv.first()).cloned().collect::<Vec<_>>().join(" | ");
        PlannedError::Spawn(SpawnError::System { shell, source })
    })
}

struct Start<'a> {
    ready: &'a Ready,
    env: &'a BTreeMap<String, String>,
    wrapped: &'a Wrapped,
    oom_score_adj: i32,
}

impl Start<'_> {
    fn all(&self, mut input: Option<OwnedFd>) -> io::Result<Running> {
        let (errors, stderr) = io::pipe()?;
        let mut children: Vec<Child> = Vec::new();
        let mut output: Option<PipeReader> = None;
        for stage in &self.ready.stages {
            let (reader, stdout) = io::pipe()?;
            let fed = || input.take().map_or_else(Stdio::null, Stdio::from);
            let stdin = output.replace(reader).map_or_else(fed, Stdio::from);
            let group = children.first().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
            let started = stderr.try_clone().and_then(|stderr| self.one(stage, Some(group), [stdin, stdout.into(), stderr.into()]));
            match started {
                Ok(child) => children.push(child),
                Err(failed) => {
                    // Those before it have nobody to write to; what they leave behind the shim sweeps.
                    children.iter_mut().for_each(|child| drop(child.start_kill()));
                    return Err(failed);
                }
            }
        }
        let output = output.ok_or(io::ErrorKind::InvalidInput)?;
        running(Leader::of(children)?, OwnedFd::from(output), OwnedFd::from(errors), self.oom_score_adj)
    }

    fn on_terminal(&self) -> io::Result<Running> {
        let [stage] = self.ready.stages.as_slice() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pipeline from a list has no terminal; leave pty out"));
        };
        let terminal = Terminal::open()?;
        let child = self.one(stage, None, [Stdio::null(), terminal.end()?, terminal.end()?])?;
        less_dear(child.id().as_slice(), self.oom_score_adj);
        terminal.running(child, false)
    }

    /// Starts one program in this group, in one of its own (0), or in that of the shim.
    fn one(&self, stage: &ReadyStage, group: Option<i32>, io: [Stdio; 3]) -> io::Result<Child> {
        let [stdin, stdout, stderr] = io;
        let script = stage.script.as_ref().map(|(content, place)| Ok::<_, io::Error>((sealed(content)?, *place))).transpose()?;
        let mut words = self.wrapped.words.iter().cloned().chain([stage.exe.door().into_os_string()]);
        #[expect(clippy::disallowed_methods, reason = "exec is where commands are started, inside a shim")]
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        for (place, argument) in stage.argv.iter().enumerate() {
            match &script {
                // The program that stands before it gives it its path as a name.
                _ if place == 0 && self.wrapped.words.is_empty() => drop(command.arg0(argument)),
                _ if place == 0 => {}
                Some((file, of_script)) if *of_script == place => drop(command.arg(door(file))),
                _ => drop(command.arg(argument)),
            }
        }
        command.current_dir(self.ready.cwd.door()).env_clear().envs(self.env);
        for name in &self.wrapped.without {
            command.env_remove(name);
        }
        command.stdin(stdin).stdout(stdout).stderr(stderr).kill_on_drop(false);
        group.map(|group| command.process_group(group));
        // What is opened or executed only after the first exec stays open, for this child alone: nobody else starts processes here.
        let of_script = script.as_ref().map(|(file, _)| file.as_fd());
        let of_program = (!self.wrapped.words.is_empty()).then(|| stage.exe.fd());
        let kept: Vec<BorrowedFd<'_>> = of_script.into_iter().chain(of_program).collect();
        kept.iter().try_for_each(|fd| fcntl_setfd(fd, FdFlags::empty()))?;
        let child = command.spawn();
        kept.iter().try_for_each(|fd| fcntl_setfd(fd, FdFlags::CLOEXEC))?;
        child
    }
}

fn door(file: &File) -> std::path::PathBuf {
    Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
}

/// A file without a name that holds these bytes and can never hold others.
fn sealed(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("script", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(content)?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
