//! Reads a file that decides what this machine runs: only a plain file of ours, small, that nobody else can write.
//!
//! The file is opened first and judged by its descriptor, so that it cannot be exchanged between the look and the read; it is opened without blocking, so that a FIFO cannot hang the start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::locate::{Spot, end_of};
use super::problem::{ConfigError, Problem};

/// Largest file that is read, bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// A file that was read.
#[derive(Debug)]
pub struct Text {
    /// Its path with all links resolved.
    pub real: PathBuf,
    /// Its content.
    pub text: String,
    /// Whether others can read it, which is worth a warning.
    pub readable_by_others: bool,
}

/// Texts that count in place of what is on disk, by the real paths of their files: what would be read after a change.
pub type Overlay = BTreeMap<PathBuf, String>;

/// As [`read`], but a text of the overlay comes first. A file that does not exist yet stands there under its path as given.
///
/// # Errors
/// As [`read`].
pub fn read_over(path: &Path, overlay: &Overlay) -> Result<Option<Text>, ConfigError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match overlay.get(&real) {
        Some(text) => Ok(Some(Text { real, text: text.clone(), readable_by_others: false })),
        None => read(path),
    }
}

/// Reads it; `None` when it does not exist.
///
/// # Errors
/// One problem that names the file and what to change about it.
pub fn read(path: &Path) -> Result<Option<Text>, ConfigError> {
    let wrong = |reason: String| ConfigError::one(Problem::file(path.to_owned(), None, reason));
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
        Err(error) if path.is_symlink() => return Err(wrong(format!("is a link that cannot be followed: {error}"))),
        Err(error) => return Err(wrong(format!("cannot be found: {error}"))),
    };
    for directory in [path.parent(), real.parent()].into_iter().flatten() {
        check_directory(directory).map_err(wrong)?;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(open(&real, flags, Mode::empty()).map_err(|error| wrong(format!("cannot be opened: {error}")))?);
    let meta = file.metadata().map_err(|error| wrong(format!("cannot be examined: {error}")))?;
    check_file(&meta).map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong(too_large()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let spot = spot_of_bytes(error.as_bytes(), error.utf8_error().valid_up_to());
        ConfigError::one(Problem::file(path.to_owned(), Some(spot), "is not UTF-8 text"))
    })?;
    Ok(Some(Text { real, text, readable_by_others: meta.permissions().mode() & 0o044 != 0 }))
}

fn too_large() -> String {
    format!("is larger than {} KiB", MAX_BYTES >> 10)
}

fn check_file(meta: &std::fs::Metadata) -> Result<(), String> {
    if !meta.is_file() {
        return Err("is not a plain file".to_owned());
    }
    if meta.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(format!("can be written by others (mode {mode:04o}); run chmod 600 on it"));
    }
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != us && meta.uid() != 0 {
        return Err(format!("belongs to user {}, neither to this user ({us}) nor to root", meta.uid()));
    }
    Ok(())
}

/// In a directory that everybody can write, without the sticky bit, anybody can put another file in place of ours.
fn check_directory(directory: &Path) -> Result<(), String> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let meta = directory.metadata().map_err(|error| format!("its directory cannot be examined: {error}"))?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(format!("stands in the directory {} that everybody can write (mode {mode:04o})", directory.display()));
    }
    Ok(())
}

fn spot_of_bytes(bytes: &[u8], valid: usize) -> Spot {
    end_of(&String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn refusal(path: &Path) -> String {
        read(path).unwrap_err().to_string()
    }

    fn written(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_private_file_is_read_and_an_open_one_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!read(&written(dir.path(), "a", 0o600)).unwrap().unwrap().readable_by_others);
        assert!(read(&written(dir.path(), "b", 0o644)).unwrap().unwrap().readable_by_others);
        assert!(read(&dir.path().join("absent")).unwrap().is_none());
    }

    #[test]
    fn m95_files_that_others_can_write_are_refused_also_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o666, 0o620, 0o602] {
            assert!(refusal(&written(dir.path(), "w", mode)).contains("can be written by others"));
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("w"), &link).unwrap();
        assert!(refusal(&link).contains("can be written by others"));
    }

    #[test]
    fn m95_a_directory_that_everybody_can_write_is_refused_unless_sticky() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        let path = written(&open, "a", 0o600);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&path).contains("everybody can write"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(refusal(&link).contains("everybody can write"));
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(read(&path).is_ok());
    }

    #[test]
    fn m95_directories_fifos_dangling_links_and_large_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(dir.path()).contains("not a plain file"));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(refusal(&fifo).contains("not a plain file"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nothing"), &link).unwrap();
        assert!(refusal(&link).contains("cannot be followed"));
        let large = written(dir.path(), "large", 0o600);
        fs::write(&large, vec![b' '; 2 << 20]).unwrap();
        assert!(refusal(&large).contains("larger than 1024 KiB"));
    }

    #[test]
    fn bytes_that_are_not_text_are_refused_with_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), "a", 0o600);
        fs::write(&path, b"{\n a: '\xff'}").unwrap();
        assert!(refusal(&path).ends_with("a:2:6: is not UTF-8 text"), "{}", refusal(&path));
    }
}
