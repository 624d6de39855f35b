//! Files and directories: whether they can be used, and who else can.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Scene;
use super::finding::Finding;

/// Whether the gateway can work in its places.
pub fn health(scene: &Scene) -> Vec<Finding> {
    let state = &scene.loaded.paths.state_dir;
    let mut findings = vec![usable("state", state, "the daemon makes it when it starts")];
    for workspace in workspaces(scene) {
        findings.push(usable("workspace", &workspace, "it is made when the first run needs it"));
    }
    findings
}

fn workspaces(scene: &Scene) -> Vec<PathBuf> {
    let default = scene.text("/agents/defaults/workspace");
    let own = scene.shown.pointer("/agents/list").and_then(serde_json::Value::as_array).into_iter().flatten();
    let mut all: Vec<PathBuf> = own
        .filter_map(|agent| agent.get("workspace")?.as_str())
        .chain([default])
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect();
    all.sort();
    all.dedup();
    all
}

fn usable(check: &'static str, path: &Path, absent: &str) -> Finding {
    let shown = path.display();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::note(check, format!("{shown} is not there yet; {absent}"), "")
        }
        Err(error) => Finding::critical(check, format!("{shown}: {error}"), "give the gateway's user access to it"),
        Ok(found) if !found.is_dir() => Finding::critical(check, format!("{shown} is no directory"), "move it away, or name another place"),
        Ok(_) => match access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Finding::ok(check, format!("{shown} can be used")),
            Err(error) => Finding::critical(
                check,
                format!("{shown} cannot be written by this user: {error}"),
                "run this as the gateway's user, or give that user the directory",
            ),
        },
    }
}

/// Who else can read or change what is ours.
pub fn security(scene: &Scene) -> Vec<Finding> {
    let paths = &scene.loaded.paths;
    // What may be read by others as well: nothing; the certificate is public, and only its key is looked at.
    let private = [
        paths.state_dir.clone(),
        paths.runs_dir(),
        paths.db(),
        paths.log(),
        paths.tls_key(),
        paths.socket(),
        paths.state_dir.join("audit"),
        paths.state_dir.join("media"),
        paths.state_dir.join("agents"),
    ];
    let files = scene.loaded.files.iter().chain(&private);
    let mut findings: Vec<Finding> = files.filter_map(|path| permissions(path)).collect();
    findings.extend(above(&paths.state_dir));
    if findings.is_empty() {
        findings.push(Finding::ok("permissions", "only the gateway's user can read or change the configuration, the state and the keys"));
    }
    findings
}

fn permissions(path: &Path) -> Option<Finding> {
    let meta = path.symlink_metadata().ok().filter(|meta| !meta.is_symlink())?;
    let (mode, shown) = (meta.permissions().mode() & 0o7777, path.display());
    let right = if meta.is_dir() { "0700" } else { "0600" };
    let mend = format!("chmod {right} {shown}");
    if mode & 0o022 != 0 {
        return Some(Finding::critical("permissions", format!("{shown} can be changed by other users (mode {mode:04o})"), mend));
    }
    if is_strange(&meta) {
        return Some(Finding::critical(
            "permissions",
            format!("{shown} belongs to user {}", meta.uid()),
            format!("chown it to the gateway's user: {shown}"),
        ));
    }
    // A directory that others may pass but not list is not counted: what is in it has modes of its own.
    (mode & 0o044 != 0).then(|| Finding::warning("permissions", format!("{shown} can be read by other users (mode {mode:04o})"), mend))
}

/// Neither ours nor root's.
fn is_strange(meta: &Metadata) -> bool {
    meta.uid() != 0 && meta.uid() != rustix::process::geteuid().as_raw()
}

/// Directories on the way in which somebody else can put another thing in our place.
fn above(path: &Path) -> Vec<Finding> {
    let open =
        |dir: &&Path| dir.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o002 != 0 && meta.permissions().mode() & 0o1000 == 0);
    let found = path.ancestors().skip(1).filter(open);
    found
        .map(|dir| {
            Finding::critical(
                "permissions",
                format!("everybody can rename what is in {}", dir.display()),
                format!("chmod o-w {}", dir.display()),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;
    use crate::cli::doctor::finding::Severity;

    #[test]
    fn what_others_can_read_is_a_warning_and_what_they_can_change_is_critical() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "x").unwrap();
        let judged = |mode: u32| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            permissions(&path).map(|finding| (finding.severity, finding.mend))
        };
        let mend = format!("chmod 0600 {}", path.display());
        assert_eq!(judged(0o600), None);
        assert_eq!(judged(0o640), Some((Severity::Warning, mend.clone())));
        assert_eq!(judged(0o602), Some((Severity::Critical, mend)));
        assert_eq!(permissions(&dir.path().join("absent")), None);
    }

    #[test]
    fn a_place_that_is_absent_is_no_fault_and_one_that_is_a_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "x").unwrap();
        let severity = |path: &Path| usable("state", path, "later").severity;
        assert_eq!(
            (severity(dir.path()), severity(&dir.path().join("absent")), severity(&file)),
            (Severity::Ok, Severity::Note, Severity::Critical)
        );
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(above(&open.join("state")).len(), 1);
        fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(above(&open.join("state")).len(), 0);
    }
}
