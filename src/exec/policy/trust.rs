//! Which file a name means, and whether it may be trusted: found in a fixed list of folders, held open, and looked at through that descriptor.
//!
//! A program counts as the system's when nobody but the system's owner can change it: the file and every folder above it belong to root and nobody else may write to them. So neither a `PATH`, nor the folder a run works in, nor a link that is turned around at the right moment can put another program in its place.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::plan::{Folder, Identity, hex};
use crate::protocol::run::Denied;

/// Where programs are looked for, in this order.
pub const SEARCH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Largest file that is digested, bytes; programs are smaller, and a digest of more would hold up a run.
const MAX_FILE: u64 = 512 << 20;
/// What the kernel reads of a script's first line, bytes.
const FIRST_LINE: usize = 256;
/// Places whose files are no files.
const NO_PLACES: [&str; 3] = ["/proc", "/dev", "/sys"];

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whose files are trusted, and where programs are.
#[derive(Clone, Debug)]
pub struct Trust {
    search: Vec<PathBuf>,
    owner: u32,
    /// The topmost folder that is looked at.
    top: PathBuf,
}

impl Default for Trust {
    fn default() -> Self {
        Self { search: SEARCH.iter().map(PathBuf::from).collect(), owner: 0, top: PathBuf::from("/") }
    }
}

/// What a file is to the kernel that executes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program.
    Program,
    /// A script, with its interpreter and what stands behind that on the first line.
    Script {
        /// The interpreter's path.
        interpreter: String,
        /// The rest of the line.
        option: Option<String>,
    },
    /// Neither; a shell would take it for a script of its own.
    Neither,
}

/// A file that is held: whatever happens to its name, this is what runs.
#[derive(Debug)]
pub struct Held {
    fd: OwnedFd,
    /// By what it is known.
    pub identity: Identity,
    /// What it is.
    pub kind: Kind,
    /// How many names it has.
    pub links: u64,
}

impl Held {
    /// A path that leads to the held file, also in a child before it executes something.
    #[must_use]
    pub fn door(&self) -> PathBuf {
        door(&self.fd)
    }

    /// The descriptor, for a child that must have it open.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its content, at most `most` bytes.
    ///
    /// # Errors
    /// It cannot be read, or is larger.
    pub fn content(&self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.door())?.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }
}

/// A folder that is held.
#[derive(Debug)]
pub struct HeldFolder {
    fd: OwnedFd,
    /// By what it is known.
    pub folder: Folder,
}

impl HeldFolder {
    /// A path that leads to the held folder, also in a child before it executes something.
    #[must_use]
    pub fn door(&self) -> PathBuf {
        door(&self.fd)
    }
}

fn door(fd: &OwnedFd) -> PathBuf {
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}

fn no<T>(token: &'static str, reason: impl Into<String>) -> Result<T, Denied> {
    Err(Denied::by_rule(token, reason))
}

fn failed<T>(path: &Path, cause: impl std::fmt::Display) -> Result<T, Denied> {
    no("NOT_FOUND", format!("{} cannot be opened: {cause}", path.display()))
}

impl Trust {
    /// Trust in this process's own user, for files below `top` only.
    #[cfg(test)]
    pub(crate) fn of_tests(top: &Path) -> Self {
        Self { search: vec![top.join("bin")], owner: rustix::process::geteuid().as_raw(), top: top.to_owned() }
    }

    /// The folders in which programs are looked for.
    #[must_use]
    pub fn search(&self) -> &[PathBuf] {
        &self.search
    }

    /// The file that a command's first word means: the first of this name in the list of folders, or the absolute path itself.
    ///
    /// # Errors
    /// There is none, or the path is relative, roundabout or in a place of no files.
    pub fn locate(&self, name: &str) -> Result<PathBuf, Denied> {
        if !name.contains('/') {
            if matches!(name, "." | "..") {
                return no("NOT_FOUND", format!("`{name}` is no program"));
            }
            let found = self.search.iter().map(|dir| dir.join(name)).find(|path| path.symlink_metadata().is_ok());
            return found.map_or_else(|| no("NOT_FOUND", format!("there is no program `{name}` in the system's folders")), Ok);
        }
        if !name.starts_with('/') {
            return no("RELATIVE_PATH", format!("`{name}` is a relative path; programs are named by their name or their whole path"));
        }
        if !is_direct(name) {
            return no("PATH_FORM", format!("`{name}` is not written as a real path is: no `.`, `..`, `//` or `/` at the end"));
        }
        if NO_PLACES.iter().any(|place| Path::new(name).starts_with(place)) {
            return no("PATH_FORM", format!("`{name}` is not a file of the system"));
        }
        Ok(PathBuf::from(name))
    }

    /// Opens the program behind `path`, which may be a link, and checks that it is trusted.
    ///
    /// # Errors
    /// It is not there, not trusted, or nothing that can be executed.
    pub fn program(&self, path: &Path) -> Result<Held, Denied> {
        let real = std::fs::canonicalize(path).or_else(|cause| failed(path, cause))?;
        self.trusted(&real)
    }

    /// Opens the file with exactly this real path and checks that it is trusted.
    ///
    /// # Errors
    /// As [`Self::program`], or there is a link in the path.
    pub fn trusted(&self, real: &Path) -> Result<Held, Denied> {
        let fd = walk(real, |path, stat| self.check_folder(path, stat))?;
        let stat = rustix::fs::fstat(&fd).or_else(|cause| failed(real, cause))?;
        self.check_file(real, &stat, &fd)?;
        hold(fd, real, &stat)
    }

    fn check_folder(&self, path: &Path, stat: &Stat) -> Result<(), Denied> {
        if !path.starts_with(&self.top) || (stat.st_uid == self.owner && stat.st_mode & 0o022 == 0) {
            return Ok(());
        }
        no("NOT_TRUSTED", format!("the folder {} can be changed by others than root, so what is in it may be anything", path.display()))
    }

    fn check_file(&self, path: &Path, stat: &Stat, fd: &OwnedFd) -> Result<(), Denied> {
        let shown = path.display();
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return no("NOT_A_FILE", format!("{shown} is no plain file"));
        }
        if stat.st_uid != self.owner || stat.st_mode & 0o022 != 0 {
            return no("NOT_TRUSTED", format!("{shown} can be changed by others than root"));
        }
        if stat.st_mode & 0o6000 != 0 || has_capabilities(fd) {
            return no("PRIVILEGED", format!("{shown} runs with more rights than who starts it"));
        }
        if stat.st_mode & 0o111 == 0 {
            return no("NOT_EXECUTABLE", format!("{shown} is not executable"));
        }
        Ok(())
    }

    /// Whether the file is one of `names` in one of the folders, whatever it is called here.
    #[must_use]
    pub fn is_also(&self, identity: &Identity, names: impl Iterator<Item = &'static str> + Clone) -> bool {
        self.search.iter().any(|dir| {
            let Ok(dir) = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { return false };
            names.clone().any(|name| {
                rustix::fs::statat(&dir, name, AtFlags::empty())
                    .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (identity.dev, identity.ino))
            })
        })
    }
}

/// Opens the file with exactly this real path, whoever owns it.
///
/// # Errors
/// It is not there or no plain file, or there is a link in the path.
pub fn plain_file(real: &Path) -> Result<Held, Denied> {
    let fd = walk(real, |_, _| Ok(()))?;
    let stat = rustix::fs::fstat(&fd).or_else(|cause| failed(real, cause))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return no("NOT_A_FILE", format!("{} is no plain file", real.display()));
    }
    hold(fd, real, &stat)
}

/// Opens a folder to run in. Its last name may not be a link; those above may, because the configuration names the path.
///
/// # Errors
/// It is not there, no folder, a link, roundabout, or somebody else's.
pub fn folder(path: &Path) -> Result<HeldFolder, Denied> {
    let shown = path.display();
    let roundabout = path.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir));
    if !path.is_absolute() || roundabout {
        return no("CWD", format!("the folder {shown} is not written as a whole path without `..`"));
    }
    let fd = rustix::fs::open(path, LOOK | OFlags::DIRECTORY, Mode::empty())
        .or_else(|cause| no("CWD", format!("the folder {shown} cannot be entered, or is a link or no folder: {cause}")))?;
    let stat = rustix::fs::fstat(&fd).or_else(|cause| no("CWD", format!("the folder {shown} cannot be looked at: {cause}")))?;
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own && stat.st_uid != 0 {
        return no("CWD", format!("the folder {shown} belongs to another user"));
    }
    let real = std::fs::read_link(door(&fd)).or_else(|cause| no("CWD", format!("the folder {shown} has no path: {cause}")))?;
    if stat.st_nlink == 0 || real.to_str().is_none() {
        return no("CWD", format!("the folder {shown} has been deleted, or its path is no text"));
    }
    Ok(HeldFolder { folder: Folder { path: real, dev: stat.st_dev, ino: stat.st_ino }, fd })
}

/// Goes from `/` to the file, folder by folder and through no link.
fn walk(real: &Path, check: impl Fn(&Path, &Stat) -> Result<(), Denied>) -> Result<OwnedFd, Denied> {
    let Some(text) = real.to_str().filter(|text| text.starts_with('/') && is_direct(text)) else {
        return no("PATH_FORM", format!("{} is no real path", real.display()));
    };
    let mut at = PathBuf::from("/");
    let mut fd = rustix::fs::open("/", LOOK | OFlags::DIRECTORY, Mode::empty()).or_else(|cause| failed(&at, cause))?;
    let mut names = text.split('/').skip(1).peekable();
    while let Some(name) = names.next() {
        let stat = rustix::fs::fstat(&fd).or_else(|cause| failed(&at, cause))?;
        check(&at, &stat)?;
        at.push(name);
        let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        fd = rustix::fs::openat(fd.as_fd(), name, LOOK | kind, Mode::empty()).or_else(|cause| failed(&at, cause))?;
    }
    Ok(fd)
}

/// Whether a path is written as the kernel would write it.
fn is_direct(text: &str) -> bool {
    text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."))
}

/// Rights that the file itself grants, as setuid does.
fn has_capabilities(fd: &OwnedFd) -> bool {
    let mut value = [0u8; 64];
    rustix::fs::getxattr(door(fd), c"security.capability", &mut value[..]).is_ok()
}

fn hold(fd: OwnedFd, real: &Path, stat: &Stat) -> Result<Held, Denied> {
    let shown = real.display();
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > MAX_FILE {
        return no("TOO_LARGE", format!("{shown} has {size} bytes; files of up to {MAX_FILE} can be known by their digest"));
    }
    // The kernel's own word on where the file is: a deleted one, or one without a name, is nowhere.
    if stat.st_nlink == 0 || std::fs::read_link(door(&fd)).ok().as_deref() != Some(real) {
        return no("CHANGED", format!("{shown} was replaced while it was looked at"));
    }
    let read = File::open(door(&fd)).and_then(digest_and_kind);
    let (sha256, kind) = read.or_else(|cause| no("UNREADABLE", format!("{shown} cannot be read: {cause}")))?;
    let seconds = i128::from(stat.st_mtime) * 1_000_000_000;
    let identity = Identity {
        path: real.to_owned(),
        dev: stat.st_dev,
        ino: stat.st_ino,
        size,
        mtime_ns: seconds + i128::from(stat.st_mtime_nsec),
        sha256,
    };
    Ok(Held { fd, identity, kind, links: u64::try_from(stat.st_nlink).unwrap_or(u64::MAX) })
}

fn digest_and_kind(mut file: File) -> io::Result<(String, Kind)> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut head = Vec::with_capacity(FIRST_LINE);
    (&mut file).take(FIRST_LINE as u64).read_to_end(&mut head)?;
    context.update(&head);
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => return Ok((hex(context.finish().as_ref()), kind(&head))),
            n => context.update(block.get(..n).unwrap_or_default()),
        }
    }
}

fn kind(head: &[u8]) -> Kind {
    if head.starts_with(b"\x7fELF") {
        return Kind::Program;
    }
    let rest = head.strip_prefix(b"#!");
    let line = rest.and_then(|rest| rest.get(..memchr::memchr(b'\n', rest)?)).and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else { return Kind::Neither };
    let line = line.trim_matches([' ', '\t']);
    let (interpreter, option) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let option = option.trim_matches([' ', '\t']);
    Kind::Script { interpreter: interpreter.to_owned(), option: (!option.is_empty()).then(|| option.to_owned()) }
}

#[cfg(test)]
pub(crate) mod tests;
