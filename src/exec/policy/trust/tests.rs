//! Tests of which file a name means and whether it is trusted.

use super::*;
use std::os::unix::fs::{PermissionsExt as _, symlink};

#[path = "../../../../tests/support/executable.rs"]
mod executable;

/// A folder of this user's with a `bin` in it, and trust in it.
pub(crate) fn place() -> (tempfile::TempDir, Trust) {
    let dir = tempfile::tempdir().unwrap();
    let top = std::fs::canonicalize(dir.path()).unwrap();
    std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(top.join("bin")).unwrap();
    let trust = Trust::of_tests(&top);
    (dir, trust)
}

pub(crate) fn put(dir: &tempfile::TempDir, name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = std::fs::canonicalize(dir.path()).unwrap().join(name);
    executable::write(&path, content);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn token(result: Result<Held, Denied>) -> String {
    result.map_or_else(|denied| denied.token, |_| "trusted".to_owned())
}

#[test]
fn m67_only_the_fixed_folders_are_searched_and_no_relative_path_means_anything() {
    let trust = Trust::default();
    assert_eq!(trust.locate("ls").unwrap().file_name().unwrap(), "ls");
    for (name, expected) in [
        ("no-such-program", "NOT_FOUND"),
        ("..", "NOT_FOUND"),
        ("./ls", "RELATIVE_PATH"),
        ("bin/ls", "RELATIVE_PATH"),
        ("../ls", "RELATIVE_PATH"),
        ("/usr/bin/../bin/ls", "PATH_FORM"),
        ("/usr/./bin/ls", "PATH_FORM"),
        ("//usr/bin/ls", "PATH_FORM"),
        ("/usr/bin/ls/", "PATH_FORM"),
        ("/proc/self/exe", "PATH_FORM"),
        ("/dev/fd/3", "PATH_FORM"),
        ("/proc/self/fd/3", "PATH_FORM"),
    ] {
        assert_eq!(trust.locate(name).unwrap_err().token, expected, "{name}");
    }
    assert_eq!(token(trust.program(Path::new("/usr/bin/LS"))), "NOT_FOUND");
}

#[test]
fn the_systems_own_programs_are_trusted_under_their_real_path() {
    let trust = Trust::default();
    let held = trust.program(&trust.locate("ls").unwrap()).unwrap();
    assert_eq!((held.kind.clone(), held.identity.sha256.len()), (Kind::Program, 64));
    assert_eq!(std::fs::canonicalize("/bin/ls").unwrap(), held.identity.path);
    let shell = trust.program(Path::new("/bin/sh")).unwrap();
    assert_eq!(shell.identity.path, std::fs::canonicalize("/bin/sh").unwrap());
}

#[test]
fn a_file_that_others_can_change_or_that_has_rights_of_its_own_is_refused() {
    let (dir, trust) = place();
    for (mode, expected) in [
        (0o755, "trusted"),
        (0o775, "NOT_TRUSTED"),
        (0o757, "NOT_TRUSTED"),
        (0o4755, "PRIVILEGED"),
        (0o2755, "PRIVILEGED"),
        (0o644, "NOT_EXECUTABLE"),
    ] {
        let path = put(&dir, "bin/tool", b"\x7fELF", mode);
        assert_eq!(token(trust.program(&path)), expected, "{mode:o}");
    }
    let path = put(&dir, "bin/tool", b"\x7fELF", 0o755);
    let bin = path.parent().unwrap();
    for mode in [0o777, 0o775, 0o1777] {
        std::fs::set_permissions(bin, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(token(trust.program(&path)), "NOT_TRUSTED", "{mode:o}");
    }
    std::fs::set_permissions(bin, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(token(trust.program(bin)), "NOT_A_FILE");
    assert_eq!(token(Trust { owner: trust.owner + 1, ..trust.clone() }.program(&path)), "NOT_TRUSTED");
    // With the system's own rule, what lies in a folder for everybody is never trusted.
    assert_eq!(token(Trust::default().program(&path)), "NOT_TRUSTED");
}

#[test]
fn m68_a_link_leads_to_the_real_path_and_a_path_with_a_link_in_it_is_none() {
    let (dir, trust) = place();
    let path = put(&dir, "bin/tool", b"\x7fELF", 0o755);
    let link = path.with_file_name("link");
    symlink(&path, &link).unwrap();
    assert_eq!(trust.program(&link).unwrap().identity.path, path);
    assert!(trust.trusted(&link).is_err(), "the second look follows nothing");
    let elsewhere = path.parent().unwrap().with_file_name("other");
    symlink(path.parent().unwrap(), &elsewhere).unwrap();
    assert!(trust.trusted(&elsewhere.join("tool")).is_err());
}

#[test]
fn programs_scripts_and_what_is_neither_are_told_apart() {
    let script = |interpreter: &str, option: Option<&str>| Kind::Script { interpreter: interpreter.into(), option: option.map(Into::into) };
    assert_eq!(kind(b"\x7fELF\x02"), Kind::Program);
    assert_eq!(kind(b"#!/bin/sh\nid"), script("/bin/sh", None));
    assert_eq!(kind(b"#! /usr/bin/env  bash -x \n"), script("/usr/bin/env", Some("bash -x")));
    for neither in [&b""[..], b"id\n", b"#!/bin/sh", b"\x7fEL", b" #!/bin/sh\n", b"MZ"] {
        assert_eq!(kind(neither), Kind::Neither, "{neither:?}");
    }
}

#[test]
fn m74_a_folder_to_run_in_is_a_real_folder_of_ours() {
    let (dir, _) = place();
    let top = std::fs::canonicalize(dir.path()).unwrap();
    assert_eq!(folder(&top).unwrap().folder.path, top);
    let refused = |path: &Path| folder(path).unwrap_err();
    assert_eq!(refused(&top.join("bin/..")).token, "CWD");
    assert_eq!(refused(Path::new("bin")).token, "CWD");
    assert_eq!(refused(&top.join("gone")).token, "CWD");
    assert_eq!(refused(&put(&dir, "file", b"", 0o644)).token, "CWD");
    let link = top.join("link");
    symlink("/etc", &link).unwrap();
    assert_eq!(refused(&link).token, "CWD");
    if rustix::process::geteuid().is_root() {
        let other = top.join("other");
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::chown(&other, Some(12345), None).unwrap();
        assert!(refused(&other).reason.contains("another user"));
    }
}

#[test]
fn m74_a_folder_that_is_deleted_while_it_is_held_is_no_folder_any_more() {
    let (dir, _) = place();
    let path = std::fs::canonicalize(dir.path()).unwrap().join("w");
    std::fs::create_dir(&path).unwrap();
    let held = folder(&path).unwrap();
    std::fs::remove_dir(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_ne!(folder(&path).unwrap().folder.ino, held.folder.ino);
}
