//! Programs that tests write and then start.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable file by another process. Were it open for writing here, a child that another test forks just then would hold it open too for a moment, and the kernel starts no program that somebody may write (`ETXTBSY`).
///
/// # Panics
/// If it cannot be written.
#[expect(clippy::disallowed_methods, reason = "a shell of the test's own, and a test ends where its machine does not do what it must")]
pub fn write(path: &Path, content: &[u8]) {
    let script = r#"umask 022 && cat > "$1" && chmod 755 "$1""#;
    let mut shell = Command::new("/bin/sh").args(["-c", script, "sh"]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(content).unwrap();
    assert!(shell.wait().unwrap().success(), "{} cannot be written", path.display());
}
