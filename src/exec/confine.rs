//! `skykoi-gateway confine PLAN PROGRAM ARGUMENT…`, a hidden command: binds itself to the plan and becomes the program.
//!
//! It exists because everything here holds for the process that asks for it and for what it starts, and cannot be laid on another one: the shim must stay free, so somebody in between asks.
//! Nothing of it can fail silently: if a part of the plan cannot be had, the program is not started.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::io::Errno;
use rustix::process::{Signal, ioctl_tiocsctty, set_parent_process_death_signal, setsid};
use rustix::stdio::{stdin, stdout};
use rustix::termios::isatty;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};

use super::{fence, filter};
use crate::protocol::isolation::Limits;

/// Exit code: the program was not started, because it could not be shut in or limited as it was to be.
pub const FAILED: u8 = 125;
/// Seconds between the polite and the forced end of a process that has used its processor time.
const CPU_GRACE: u64 = 2;

/// What to bind itself to, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    /// The control group to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// Limits of each process.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// What it may do with files; absent = what its user may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// What it may do with sockets; absent = what its user may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Sockets>,
    /// Also closes calls into the kernel that ordinary work has no need of.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hardened: bool,
    /// Founds a session whose terminal is the one that it was started on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// Gets TERM when the process that started it ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub end_with_parent: bool,
}

/// What a command may do with files: read all but what is protected, and write where it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Files {
    /// Neither readable nor writable.
    pub protected: Vec<PathBuf>,
    /// Readable although it lies in a protected place.
    pub readable: Vec<PathBuf>,
    /// Readable and writable.
    pub writable: Vec<PathBuf>,
}

/// What a command may do with sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sockets {
    /// Whether it may connect to the machine's network, but for the closed ports.
    pub network: bool,
    /// Ports that it may not connect to.
    pub closed_ports: Vec<u16>,
    /// Whether it is in a mount namespace of its own, where the machine's Unix sockets are not.
    pub unix: bool,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The command line is not one of ours.
    #[error("want PLAN PROGRAM ARGUMENT…: {0}")]
    Words(String),
    /// The control group cannot be joined.
    #[error("join the control group {}: {cause}", .path.display())]
    Group {
        /// The group.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A limit cannot be set.
    #[error("limit {what}: {cause}")]
    Limit {
        /// Its name.
        what: &'static str,
        /// Why not.
        cause: io::Error,
    },
    /// It cannot be tied to its parent.
    #[error("be told of the end of the parent: {0}")]
    Tie(#[source] io::Error),
    /// The terminal cannot be had.
    #[error("have a terminal: {0}")]
    Terminal(#[source] io::Error),
    /// Landlock refuses.
    #[error("Landlock: {0}")]
    Fence(String),
    /// seccomp refuses.
    #[error("seccomp: {0}")]
    Filter(String),
    /// Rights of root cannot be given up.
    #[error("give up the rights of root: {0}")]
    Rights(#[source] io::Error),
    /// The program cannot be started.
    #[error("start {}: {cause}", .program.display())]
    Exec {
        /// The program.
        program: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

impl Plan {
    /// The plan as one argument.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Binds this process to the plan, for good.
    ///
    /// # Errors
    /// A part of it cannot be had; others may hold already.
    pub fn apply(&self) -> Result<(), ConfineError> {
        if self.terminal {
            take_terminal().map_err(|cause| ConfineError::Terminal(cause.into()))?;
        }
        if self.end_with_parent {
            let tied = set_parent_process_death_signal(Some(Signal::TERM));
            tied.map_err(|cause| ConfineError::Tie(cause.into()))?;
        }
        if let Some(path) = &self.cgroup {
            fs::write(path.join("cgroup.procs"), "0").map_err(|cause| ConfineError::Group { path: path.clone(), cause })?;
        }
        limit(&self.limits)?;
        let fence = fence::raise(self.files.as_ref(), self.sockets.as_ref()).map_err(ConfineError::Fence)?;
        if let Some(sockets) = &self.sockets {
            // In the machine's own network, sockets without a name in the file system are kept out by Landlock or not at all.
            let unix = sockets.unix && (!sockets.network || fence.keeps_abstract_sockets);
            let inet = sockets.network || sockets.unix;
            filter::close(filter::Families { unix, inet }, self.hardened).map_err(ConfineError::Filter)?;
            shed_rights().map_err(|cause| ConfineError::Rights(cause.into()))?;
        }
        Ok(())
    }
}

/// Runs the command. Returns only if the program was not started; the reason is on stderr.
#[must_use]
pub fn main() -> u8 {
    let failed = match run(std::env::args_os().skip(2).collect()) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    // The reader may be gone, which changes nothing.
    let _ = writeln!(io::stderr(), "skykoi-gateway: the command was not started: {failed}");
    FAILED
}

fn run(words: Vec<OsString>) -> Result<std::convert::Infallible, ConfineError> {
    let mut words = words.into_iter();
    let plan = words.next().ok_or_else(|| ConfineError::Words("there is no plan".to_owned()))?;
    let plan: Plan = serde_json::from_str(&plan.to_string_lossy()).map_err(|cause| ConfineError::Words(cause.to_string()))?;
    let program = words.next().ok_or_else(|| ConfineError::Words("there is no program".to_owned()))?;
    plan.apply()?;
    #[expect(clippy::disallowed_methods, reason = "no process is started: this one becomes the command")]
    let mut command = Command::new(&program);
    let cause = command.args(words).exec();
    Err(ConfineError::Exec { program: PathBuf::from(program), cause })
}

/// Founds a session and takes the terminal among the three first descriptors as its own.
fn take_terminal() -> rustix::io::Result<()> {
    setsid()?;
    if isatty(stdin()) { ioctl_tiocsctty(stdin()) } else { ioctl_tiocsctty(stdout()) }
}

/// Gives up what root may beyond its files, for this process and all that it starts: some of it reaches around Landlock. Whoever has no such rights cannot gain any.
fn shed_rights() -> rustix::io::Result<()> {
    if capabilities(None)?.permitted.is_empty() {
        return Ok(());
    }
    for right in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(right) {
            // This kernel does not have it yet.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(failed) => return Err(failed),
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

fn limit(limits: &Limits) -> Result<(), ConfineError> {
    let set = |what, resource, value: Option<u64>, over: u64| {
        let Some(value) = value else { return Ok(()) };
        let set = || {
            let (_, most) = getrlimit(resource)?;
            setrlimit(resource, value.min(most), value.saturating_add(over).min(most))
        };
        set().map_err(|cause| ConfineError::Limit { what, cause: cause.into() })
    };
    if let Some(adj) = limits.oom_score_adj {
        let written = fs::write("/proc/self/oom_score_adj", adj.to_string());
        written.map_err(|cause| ConfineError::Limit { what: "oomScoreAdj", cause })?;
    }
    set("memoryBytes", Resource::RLIMIT_AS, limits.memory_bytes, 0)?;
    set("cpuSeconds", Resource::RLIMIT_CPU, limits.cpu_seconds, CPU_GRACE)?;
    set("openFiles", Resource::RLIMIT_NOFILE, limits.open_files, 0)?;
    set("fileSizeBytes", Resource::RLIMIT_FSIZE, limits.file_size_bytes, 0)?;
    // The kernel counts all processes of a user, so those that are there already come on top.
    set("tasks", Resource::RLIMIT_NPROC, limits.tasks.map(|tasks| tasks.saturating_add(tasks_of_user())), 0)
}

/// Processes and threads of this process's user that can be seen from here, this one left out.
fn tasks_of_user() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::getuid().as_raw();
    let of = |pid: u32| {
        let dir = Path::new("/proc").join(pid.to_string()).join("task");
        let mine = fs::metadata(&dir).is_ok_and(|found| found.uid() == me);
        if mine { fs::read_dir(dir).map_or(0, |threads| threads.count() as u64) } else { 0 }
    };
    super::proc::all().into_iter().map(of).sum::<u64>().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_one_argument_and_comes_out_as_it_went_in() {
        let plan = Plan {
            cgroup: Some("/sys/fs/cgroup/x".into()),
            limits: Limits { tasks: Some(3), ..Limits::default() },
            files: Some(Files { protected: vec!["/s".into()], ..Files::default() }),
            sockets: Some(Sockets { network: true, closed_ports: vec![80], unix: false }),
            hardened: true,
            terminal: true,
            end_with_parent: true,
        };
        assert_eq!(serde_json::from_str::<Plan>(&plan.to_text()).unwrap(), plan);
        assert_eq!(Plan::default().to_text(), "{}");
    }

    #[test]
    fn a_wrong_command_line_starts_nothing() {
        let failed = |words: &[&str]| run(words.iter().map(OsString::from).collect()).unwrap_err().to_string();
        assert!(failed(&[]).contains("there is no plan"));
        assert!(failed(&["{"]).starts_with("want PLAN"));
        assert!(failed(&["{}"]).contains("there is no program"));
        // Refused before the kernel is asked: an exec that fails there leaves this process, which is that of all tests, to be killed by SIGPIPE.
        assert!(failed(&["{}", "/no/such\0program"]).starts_with("start /no/such\0program: "));
        assert!(failed(&[r#"{"cgroup":"/no/such/group"}"#, "/bin/true"]).starts_with("join the control group /no/such/group"));
    }
}
