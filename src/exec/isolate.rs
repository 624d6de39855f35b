//! Puts a command behind the steps that shut it in and limit it: the words that stand before it on the command line.
//!
//! ```text
//! level off, no limits   sh -c SCRIPT
//! off with limits        skykoi-gateway confine PLAN sh -c SCRIPT
//! workspace              skykoi-gateway confine PLAN sh -c SCRIPT          PLAN: group, limits, Landlock, seccomp
//! strict                 [confine PLAN] bwrap … confine PLAN sh -c SCRIPT  the outer one only for a control group
//! ```
//! Each step ends in an exec, so the command has the process id that was started and nothing stays in between, but for `bwrap`, whose process is the init of the namespace.
//! A step that fails ends with [`super::confine::FAILED`] and says why on stderr; the command is then not started at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bubble;
use super::confine::{Files, Plan, Sockets};
use crate::config::isolation::TEMPORARY;
use crate::protocol::isolation::{Access, Isolation, Level};

/// Where this program stands in a mount namespace of a run's own.
pub const SELF_INSIDE: &str = "/run/skykoi-gateway/confine";

/// What a shim must know to shut its run in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Confinement {
    /// The level, the network and the limits.
    pub isolation: Isolation,
    /// What no run may see: the gateway's own files and directories.
    pub protected: Vec<PathBuf>,
    /// Files that came with the message, readable although they lie there.
    pub attachments: Vec<PathBuf>,
    /// Directories and files that the run's program keeps its state in, readable and writable wherever they lie.
    pub writable: Vec<PathBuf>,
    /// Ports that are closed to isolated runs with a network.
    pub closed_ports: Vec<u16>,
    /// The program `bwrap`.
    pub bubblewrap: Option<PathBuf>,
    /// The directory of the run's own control group; the limits that it keeps are not among the others any more.
    pub cgroup: Option<PathBuf>,
}

/// The words before a command, and what changes in its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapped {
    /// Program and arguments; empty = the command stands for itself.
    pub words: Vec<OsString>,
    /// Variables that name places which the command does not have.
    pub without: Vec<&'static str>,
}

impl Confinement {
    /// What to put before a command that runs in `cwd` with this environment. `program` is this program.
    #[must_use]
    pub fn wrap(&self, program: &Path, cwd: &Path, env: &BTreeMap<String, String>) -> Wrapped {
        let isolation = &self.isolation;
        match isolation.level {
            Level::Off if isolation.limits.is_empty() && self.cgroup.is_none() => Wrapped::default(),
            Level::Off => Wrapped { words: self.step(program, self.limiting()), without: Vec::new() },
            Level::Workspace => {
                let plan = Plan { files: Some(self.files(cwd, env)), sockets: Some(self.sockets()), ..self.limiting() };
                // The sockets behind this variable are closed, and programs that find it try them.
                Wrapped { words: self.step(program, plan), without: vec!["XDG_RUNTIME_DIR"] }
            }
            Level::Strict => self.strict(program, cwd, env),
        }
    }

    fn strict(&self, program: &Path, cwd: &Path, env: &BTreeMap<String, String>) -> Wrapped {
        let mut words = Vec::new();
        if self.cgroup.is_some() {
            // The groups cannot be seen from inside.
            words = self.step(program, Plan { cgroup: self.cgroup.clone(), ..Plan::default() });
        }
        words.extend(bubble::words(&bubble::View {
            bwrap: self.bubblewrap.as_deref().unwrap_or(Path::new("bwrap")),
            network: self.isolation.network,
            home: env.get("HOME").map(Path::new),
            workspace: (cwd, self.isolation.workspace),
            read_only: &self.isolation.read_only,
            attachments: &self.attachments,
            writable: &self.writable,
            program: (program, Path::new(SELF_INSIDE)),
        }));
        let plan = Plan { cgroup: None, sockets: Some(self.sockets()), hardened: true, ..self.limiting() };
        words.extend(self.step(Path::new(SELF_INSIDE), plan));
        Wrapped { words, without: vec!["XDG_RUNTIME_DIR", "TMPDIR"] }
    }

    fn step(&self, program: &Path, plan: Plan) -> Vec<OsString> {
        vec![program.into(), "confine".into(), plan.to_text().into()]
    }

    fn limiting(&self) -> Plan {
        Plan { cgroup: self.cgroup.clone(), limits: self.isolation.limits.clone(), ..Plan::default() }
    }

    fn files(&self, cwd: &Path, env: &BTreeMap<String, String>) -> Files {
        let writable = self.isolation.workspace == Access::ReadWrite;
        let temporary = env.get("TMPDIR").map(PathBuf::from).into_iter().chain(TEMPORARY.iter().map(PathBuf::from));
        // A temporary directory of the user's own choice is not opened if it would open what is protected.
        let temporary = temporary.filter(|path| path.is_absolute() && !self.protected.iter().any(|secret| secret.starts_with(path)));
        Files {
            protected: self.protected.clone(),
            readable: self.attachments.iter().cloned().chain((!writable).then(|| cwd.to_owned())).collect(),
            writable: temporary.chain(writable.then(|| cwd.to_owned())).chain(self.writable.iter().cloned()).collect(),
        }
    }

    fn sockets(&self) -> Sockets {
        Sockets { network: self.isolation.network, closed_ports: self.closed_ports.clone(), unix: self.isolation.level == Level::Strict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::isolation::Limits;

    fn words(confinement: &Confinement) -> String {
        let env = BTreeMap::from([("HOME".to_owned(), "/home/u".to_owned())]);
        let wrapped = confinement.wrap(Path::new("/bin/gw"), Path::new("/work"), &env);
        wrapped.words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    fn level(level: Level, limits: Limits) -> Confinement {
        Confinement { isolation: Isolation { level, limits, ..Isolation::default() }, ..Confinement::default() }
    }

    #[test]
    fn without_isolation_and_limits_a_command_stands_for_itself() {
        assert_eq!(words(&level(Level::Off, Limits::default())), "");
    }

    #[test]
    fn each_level_has_its_steps_in_order() {
        let limits = Limits { open_files: Some(64), ..Limits::default() };
        assert!(words(&level(Level::Off, limits.clone())).starts_with("/bin/gw confine {"));
        let workspace = words(&level(Level::Workspace, limits.clone()));
        assert!(workspace.starts_with("/bin/gw confine {") && !workspace.contains("bwrap"), "{workspace}");
        let mut strict = level(Level::Strict, limits);
        let plain = words(&strict);
        assert!(plain.starts_with("bwrap --unshare-user") && plain.contains(" --unshare-net "), "{plain}");
        assert!(plain.contains(" -- /run/skykoi-gateway/confine confine {"), "{plain}");
        strict.cgroup = Some("/sys/fs/cgroup/x".into());
        assert!(words(&strict).starts_with("/bin/gw confine {\"cgroup\":\"/sys/fs/cgroup/x\"} bwrap "), "{}", words(&strict));
    }
}
