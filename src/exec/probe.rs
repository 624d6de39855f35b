//! What this machine can give to isolated runs, found out by trying: `skykoi-gateway probe`, a hidden command, prints it as JSON.
//!
//! A version number or a program that is there says little: a container, a profile of AppArmor or a setting of the service unit can take the same thing away. So each level is tried as a run would use it, around a command that does nothing.
//! In a process of its own, since asking Landlock for its version restricts who asks.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::confine::{Plan, Sockets};
use super::isolate::Confinement;
use super::{cgroup, fence};
use crate::protocol::isolation::{Abilities, Ability, Access, Isolation, Level};

/// Where `bwrap` is looked for.
const PLACES: [&str; 3] = ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"];
/// What does nothing.
const NOTHING: &str = "/bin/true";
/// How to get what is missing.
const INSTALL: &str = "the program bwrap is not installed (apt-get install bubblewrap)";

/// Runs the command. The exit code is 0, or 70 if nothing could be written.
#[must_use]
pub fn main() -> u8 {
    let text = serde_json::to_string(&look()).unwrap_or_default();
    if writeln!(io::stdout(), "{text}").is_ok() { 0 } else { 70 }
}

/// The program `bwrap`.
#[must_use]
pub fn bubblewrap() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Tries everything, in some tens of milliseconds. The process that asks cannot signal others afterwards.
#[must_use]
pub fn look() -> Abilities {
    let bubblewrap = bubblewrap();
    let try_level = |level: Level| trial(&Isolation { level, workspace: Access::ReadOnly, ..Isolation::default() }, bubblewrap.as_deref());
    let workspace = try_level(Level::Workspace);
    let strict = if bubblewrap.is_some() { try_level(Level::Strict) } else { Err(INSTALL.to_owned()) };
    Abilities {
        workspace: Ability::of(workspace),
        strict: Ability::of(strict),
        filtered_network: Ability::of(filter_trial()),
        systemd: Path::new("/run/systemd/system").is_dir(),
        cgroup: cgroup::own(),
        bubblewrap,
        landlock_abi: fence::version_by_trial().unwrap_or(0),
    }
}

/// Starts a command that does nothing, as a run of this level would.
fn trial(isolation: &Isolation, bubblewrap: Option<&Path>) -> Result<(), String> {
    let confinement = Confinement {
        isolation: isolation.clone(),
        // Any place will do; it must be there, and not be one that stays open.
        protected: vec![PathBuf::from("/etc/shadow")],
        bubblewrap: bubblewrap.map(Path::to_owned),
        ..Confinement::default()
    };
    let program = std::env::current_exe().map_err(|cause| cause.to_string())?;
    let wrapped = confinement.wrap(&program, Path::new("/usr"), &Default::default());
    run(wrapped.words)
}

/// Closes a port for a command that does nothing.
fn filter_trial() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|cause| cause.to_string())?;
    let sockets = Sockets { network: true, closed_ports: vec![80], unix: false };
    let plan = Plan { sockets: Some(sockets), ..Plan::default() };
    run(vec![program.into(), "confine".into(), plan.to_text().into()])
}

fn run(words: Vec<std::ffi::OsString>) -> Result<(), String> {
    let mut words = words.into_iter();
    let Some(first) = words.next() else { return Err("there is nothing to try".to_owned()) };
    #[expect(clippy::disallowed_methods, reason = "exec is where commands are started; this one does nothing")]
    let mut command = Command::new(first);
    let output = command.args(words).arg(NOTHING).env_clear().current_dir("/").stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it ended without a word").trim();
    Err(hint(line))
}

/// What was said, with what is known about it.
fn hint(line: &str) -> String {
    let more = if line.contains("setting up uid map")
        || line.contains("No permissions to create")
        || line.contains("Creating new namespace")
    {
        "; user namespaces are closed here: look at kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces and RestrictNamespaces= of the unit"
    } else if line.contains("mount proc") {
        "; the unit protects /proc: ProtectKernelTunables=, ProtectKernelLogs= and ProtectControlGroups= must be off, see systemd/skykoi-gateway-sandbox.conf"
    } else {
        ""
    };
    format!("{line}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_go_wrong_comes_with_a_hint() {
        assert!(hint("bwrap: setting up uid map: Permission denied").contains("apparmor_restrict_unprivileged_userns"));
        assert!(hint("bwrap: Can't mount proc on /newroot/proc: Operation not permitted").contains("ProtectKernelTunables"));
        assert_eq!(hint("bwrap: execvp /x: No such file"), "bwrap: execvp /x: No such file");
    }
}
