//! Landlock: which files a command reaches, which ports it connects to, whom it signals.
//!
//! Landlock knows only what is allowed, beneath a directory and for good, so "everything but the state directory" is written as everything beside it: the directories above a protected place are opened entry by entry.
//! Their own listing stays closed, since it would open that of the protected place too, and so does what is put into them later.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::confine::{Files, Sockets};

/// The files of the first version that also keeps a file from being emptied (Linux 6.2).
const FILES: ABI = ABI::V3;
/// Devices that every program may write to.
const DEVICES: [&str; 8] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"];

/// What the fence keeps beyond what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// Unix sockets without a name in the file system, outside, cannot be reached.
    pub keeps_abstract_sockets: bool,
}

/// Puts the fence around this process and all that it starts. Without anything to keep out there is none.
///
/// # Errors
/// The kernel cannot keep what was asked for; then nothing is restricted.
pub fn raise(files: Option<&Files>, sockets: Option<&Sockets>) -> Result<Raised, String> {
    let ports = sockets.filter(|sockets| sockets.network).map(|sockets| &sockets.closed_ports);
    if files.is_none() && ports.is_none() {
        return Ok(Raised::default());
    }
    let said = |cause: landlock::RulesetError| needs(files.is_some(), ports.is_some(), &cause.to_string());
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if files.is_some() {
        ruleset = ruleset.handle_access(AccessFs::from_all(FILES)).map_err(said)?;
    }
    if ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp).map_err(said)?;
    }
    // From Linux 6.12 on the rest of the user's processes cannot be signalled either.
    let ruleset = ruleset.set_compatibility(CompatLevel::BestEffort).scope(Scope::AbstractUnixSocket | Scope::Signal).map_err(said)?;
    let mut created = ruleset.create().map_err(said)?;
    if let Some(files) = files {
        created = allow_files(created, files)?;
    }
    if let Some(closed) = ports {
        let closed: BTreeSet<u16> = closed.iter().copied().collect();
        for port in (1..=u16::MAX).filter(|port| !closed.contains(port)) {
            created = created.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(said)?;
        }
    }
    let status = created.restrict_self().map_err(said)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(needs(files.is_some(), ports.is_some(), "nothing was enforced")),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(Raised { keeps_abstract_sockets: version(&status) >= 6 }),
    }
}

/// The version of Landlock in this kernel, 0 if it has none. Restricts the process that asks: it can signal and reach sockets of nobody else afterwards.
///
/// # Errors
/// The kernel refuses for another reason.
pub fn version_by_trial() -> Result<u32, String> {
    let trial = || Ruleset::default().scope(Scope::Signal)?.handle_access(AccessFs::MakeBlock)?.create()?.restrict_self();
    trial().map(|status| version(&status)).map_err(|cause| cause.to_string())
}

fn version(status: &RestrictionStatus) -> u32 {
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.and_then(|abi| u32::try_from(abi).ok()).unwrap_or(effective_abi as u32)
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    }
}

fn needs(files: bool, ports: bool, cause: &str) -> String {
    let (what, version) = match (files, ports) {
        (_, true) => ("ports", "6.7"),
        _ => ("files", "6.2"),
    };
    format!("this kernel cannot keep {what} closed (Linux {version} with Landlock is needed): {cause}")
}

fn allow_files(mut created: RulesetCreated, files: &Files) -> Result<RulesetCreated, String> {
    let (read, all) = (AccessFs::from_read(FILES), AccessFs::from_all(FILES));
    let protected: Vec<PathBuf> = files.protected.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
    let mut open = Vec::new();
    beside(Path::new("/"), &protected, &mut open);
    let devices = DEVICES.iter().map(|path| (PathBuf::from(path), read | AccessFs::WriteFile));
    let readable = open.into_iter().chain(files.readable.iter().cloned()).map(|path| (path, read));
    let writable = files.writable.iter().map(|path| (path.clone(), all));
    for (path, access) in readable.chain(devices).chain(writable) {
        created = allow(created, &path, access)?;
    }
    Ok(created)
}

/// What is not there needs no rule.
fn allow(created: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, String> {
    let Ok(fd) = PathFd::new(path) else { return Ok(created) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(FILES) };
    created.add_rule(PathBeneath::new(fd, access)).map_err(|cause| format!("{}: {cause}", path.display()))
}

/// The highest places beneath `dir` in which nothing protected lies. Links are left out: what they lead to counts for itself.
fn beside(dir: &Path, protected: &[PathBuf], open: &mut Vec<PathBuf>) {
    if protected.iter().any(|secret| dir.starts_with(secret)) {
        return;
    }
    if !protected.iter().any(|secret| secret.starts_with(dir)) {
        open.push(dir.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            beside(&entry.path(), protected, open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_beside_a_protected_place_is_open_and_nothing_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["home/u/.state/runs", "home/u/work", "home/v", "etc"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("home/u/note"), "").unwrap();
        std::os::unix::fs::symlink(root.join("home/u/.state"), root.join("home/u/link")).unwrap();
        let mut open = Vec::new();
        beside(&root, &[root.join("home/u/.state")], &mut open);
        open.sort();
        let names: Vec<String> = open.iter().map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect();
        assert_eq!(names, ["etc", "home/u/note", "home/u/work", "home/v"]);
    }

    #[test]
    fn nothing_to_keep_out_needs_no_landlock() {
        let sockets = Sockets { network: false, ..Sockets::default() };
        assert_eq!(raise(None, Some(&sockets)), Ok(Raised::default()));
        assert_eq!(raise(None, None), Ok(Raised::default()));
    }
}
