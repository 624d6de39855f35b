//! What the daemon does so that its secrets stay in it: no core files, no look into its memory or environment by others, no secret in its environment at all, and no private data in the words of a panic.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

use crate::config::layers::{SECRET_VARIABLES, Sources};
use crate::runs::launcher;

/// Says to a program that starts that the secrets of its environment come on its standard input.
const MARK: &str = "SKYKOI_SECRETS_ON_STDIN";
/// Most that is read there, in bytes; less than what a pipe holds, so that writing it never waits.
const MOST: usize = 32 * 1024;

/// Has a panic say where it happened and not what it says: its message may hold anything.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        // Not through the log, whose lock the panicking code may hold.
        let _ = writeln!(
            io::stderr(),
            "skykoi-gateway: thread {thread} panicked at {place}; what it said is not shown, because it may be private"
        );
    }));
}

/// Forbids core files, and other processes of the same user to read this one's memory and environment. Root can all the same.
pub fn close_process() {
    if let Err(cause) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%cause, "other processes of this user may look into the gateway's memory");
    }
    // Only the soft limit: a run that wants core files of its own can raise it.
    let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    if let Err(cause) = setrlimit(Resource::Core, limit) {
        warn!(%cause, "core files cannot be forbidden");
    }
}

/// Takes the secrets that an earlier start of this process has kept out of its environment.
///
/// # Errors
/// The standard input does not hold what was promised.
pub fn receive(sources: &mut Sources) -> io::Result<()> {
    if sources.env.remove(MARK).is_none() {
        return Ok(());
    }
    let mut text = Vec::new();
    io::stdin().lock().take(MOST as u64).read_to_end(&mut text)?;
    let secrets: BTreeMap<String, String> = serde_json::from_slice(&text)?;
    sources.env.extend(secrets.into_iter().filter(|(name, _)| SECRET_VARIABLES.contains(&name.as_str())));
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(())
}

/// If there are secrets in the environment of this process, executes the program anew without them: what a process got at its start can be read in `/proc` for as long as it lives, whatever it does later. Returns only if there are none, or why it could not.
///
/// # Errors
/// The secrets stay in the environment.
pub fn leave_environment(sources: &Sources) -> io::Result<()> {
    if SECRET_VARIABLES.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(());
    }
    Err(start_again(sources))
}

/// Replaces this process by a new start of the program with the same arguments and environment; the process id stays, so no supervisor takes it for an end. Secrets that came by the environment go through a pipe. Returns only why it could not.
#[must_use]
pub fn start_again(sources: &Sources) -> io::Error {
    let replaced = launcher::this_program().and_then(|program| {
        let arguments = std::env::args_os().map(c_string).collect::<io::Result<Vec<_>>>()?;
        let environment = environment(sources)?;
        // Not by the standard library's `exec`: where that fails, it leaves a process that ends at its first write to a closed connection.
        Ok(nix::unistd::execve(&c_string(program.into())?, &arguments, &environment)?)
    });
    match replaced {
        Ok(never) => match never {},
        Err(cause) => cause,
    }
}

/// This process's environment without its secrets, which are put on the standard input.
fn environment(sources: &Sources) -> io::Result<Vec<CString>> {
    let mut kept: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    kept.remove(OsStr::new(MARK));
    let mut secrets = BTreeMap::new();
    for name in SECRET_VARIABLES {
        kept.remove(OsStr::new(name));
        if let Some(value) = sources.env.get(*name) {
            secrets.insert(*name, value);
        }
    }
    if !secrets.is_empty() {
        let text = serde_json::to_vec(&secrets)?;
        if text.len() > MOST {
            return Err(io::Error::other("the secrets in the environment are too long to be taken out of it"));
        }
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        File::from(write).write_all(&text)?;
        nix::unistd::dup2_stdin(&read)?;
        kept.insert(MARK.into(), "1".into());
    }
    kept.into_iter().map(|(name, value)| c_string([name, value].join(OsStr::new("=")))).collect()
}

fn c_string(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}
