//! The approvals file, `<state>/exec-approvals.json`: which programs may run without asking, and how strict it is for whom.
//!
//! Its form is that of existing files. It is read anew when it has changed, and as long as it cannot be read, or is not what it should be, nothing runs: a list that is lost must not become a list that allows.
//!
//! An entry is the real path of a program, letter by letter. `/dir/*` stands for the programs directly in a folder and `/dir/**` for all beneath it; every other pattern matches nothing. What existing files say in such patterns is refused, never widened.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::plan::Identity;
use super::rule::Wish;
use crate::config::tools::{ExecAsk, ExecSecurity};
use crate::workspace::beneath::Dir;

/// Its name in the state directory.
pub const NAME: &str = "exec-approvals.json";
/// Largest file that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The agent whose part holds for all.
const ALL: &str = "*";

/// What the file says. Keys that are not known are left alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Approvals {
    version: Option<u32>,
    defaults: Part,
    agents: BTreeMap<String, Part>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Part {
    security: Option<ExecSecurity>,
    ask: Option<ExecAsk>,
    allowlist: Vec<Entry>,
}

/// A program that may run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Its real path.
    pub pattern: String,
    /// SHA-256 of its content, hexadecimal; if given, only that content is allowed. A script needs it.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// What the file says for one agent.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// How strict it is.
    pub wish: Wish,
    /// What may run.
    pub list: Vec<Entry>,
}

impl Entry {
    /// Whether it means this file. Only the file's real path counts.
    #[must_use]
    pub fn matches(&self, file: &Identity) -> bool {
        if self.sha256.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&file.sha256)) {
            return false;
        }
        let Some(path) = file.path.to_str() else { return false };
        let folder_of = |pattern: &str| pattern.starts_with('/') && !pattern.contains(['*', '?']) && path.starts_with(pattern);
        if let Some(folder) = self.pattern.strip_suffix("**").filter(|folder| folder.ends_with('/') && folder.len() > 1) {
            return folder_of(folder);
        }
        if let Some(folder) = self.pattern.strip_suffix('*').filter(|folder| folder.ends_with('/') && folder.len() > 1) {
            return folder_of(folder) && !path.get(folder.len()..).unwrap_or("/").contains('/');
        }
        self.pattern == path
    }
}

impl Entries {
    /// Whether an entry names this file.
    #[must_use]
    pub fn names(&self, file: &Identity) -> bool {
        self.list.iter().any(|entry| entry.matches(file))
    }

    /// Whether an entry names this file with the digest of its content.
    #[must_use]
    pub fn pins(&self, file: &Identity) -> bool {
        self.list.iter().any(|entry| entry.sha256.is_some() && entry.matches(file))
    }
}

/// The file, with what it said when it was last read.
#[derive(Debug)]
pub struct ApprovalsFile {
    state_dir: PathBuf,
    last: Mutex<Option<(Stamp, Said)>>,
}

/// What the file says, or what is wrong with it.
type Said = Result<Arc<Approvals>, String>;

/// By what a changed file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl ApprovalsFile {
    /// The file of this state directory. It need not exist.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, last: Mutex::default() }
    }

    /// What it says for an agent, now. A file that is not there says nothing.
    ///
    /// # Errors
    /// It cannot be read, others may write to it, or it is not what it should be; the text says where and why.
    pub fn entries(&self, agent: &str) -> Result<Entries, String> {
        let file = self.current()?;
        let (own, all) = (file.agents.get(agent), file.agents.get(ALL));
        let said = |of: fn(&Part) -> Option<ExecSecurity>| own.and_then(of).or_else(|| all.and_then(of)).or_else(|| of(&file.defaults));
        let asked = |of: fn(&Part) -> Option<ExecAsk>| own.and_then(of).or_else(|| all.and_then(of)).or_else(|| of(&file.defaults));
        let list = own.into_iter().chain(all).flat_map(|part| part.allowlist.iter().cloned());
        Ok(Entries { wish: Wish { security: said(|part| part.security), ask: asked(|part| part.ask) }, list: list.collect() })
    }

    /// What was wrong with it when it was last looked at, by a command or by [`look`](Self::look). Asks no disk, but for the first time.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, said)| said.clone());
        known.unwrap_or_else(|| self.current()).err()
    }

    /// Looks whether the file has changed, while no command does.
    pub fn look(&self) {
        let _ = self.current();
    }

    fn current(&self) -> Said {
        let stamp = stamp(&self.state_dir.join(NAME));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some((known, said)) if *known == stamp => said.clone(),
            _ => {
                let said = self.read().map(Arc::new);
                *last = Some((stamp, said.clone()));
                said
            }
        }
    }

    fn read(&self) -> Result<Approvals, String> {
        let path = self.state_dir.join(NAME);
        let shown = path.display();
        // A state directory that is not there has no file either.
        if !self.state_dir.exists() {
            return Ok(Approvals::default());
        }
        let found = Dir::open(&self.state_dir).and_then(|dir| dir.read(Path::new(NAME), MAX_BYTES));
        let Some((text, _)) = found.map_err(|error| format!("{shown} cannot be read: {error}"))? else { return Ok(Approvals::default()) };
        let (mode, owner) =
            path.symlink_metadata().map(|found| (found.mode(), found.uid())).map_err(|error| format!("{shown}: {error}"))?;
        if mode & 0o022 != 0 {
            return Err(format!("{shown} can be written to by others (mode {:04o}); make it 0600", mode & 0o7777));
        }
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(format!("{shown} belongs to another user; make it this user's own"));
        }
        // A derived reader would take a list for an object without keys.
        let file: Approvals = serde_json::from_slice::<serde_json::Map<_, _>>(&text)
            .and_then(|object| serde_json::from_value(serde_json::Value::Object(object)))
            .map_err(|error| format!("{shown} is not what it should be: {error}; mend it or move it away"))?;
        match file.version {
            None | Some(1) => Ok(file),
            Some(other) => Err(format!("{shown} has version {other}; this program knows version 1")),
        }
    }
}

/// Whether a file that says this would be one that counts.
///
/// # Errors
/// What is wrong with it.
pub fn check(file: &serde_json::Value) -> Result<(), String> {
    let read = Approvals::deserialize(file).map_err(|error| error.to_string())?;
    match read.version {
        Some(1) => Ok(()),
        _ => Err("at /version: must be equal to constant 1".to_owned()),
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = path.symlink_metadata().ok();
    Stamp(found.map(|of| (of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file(path: &str) -> Identity {
        Identity { path: path.into(), dev: 1, ino: 1, size: 1, mtime_ns: 1, sha256: "ab".into() }
    }

    fn entry(pattern: &str) -> Entry {
        Entry { pattern: pattern.into(), sha256: None }
    }

    #[test]
    fn m68_an_entry_means_one_real_path_letter_by_letter() {
        assert!(entry("/usr/bin/git").matches(&file("/usr/bin/git")));
        assert!(entry("/usr/bin/g++").matches(&file("/usr/bin/g++")));
        for other in [
            "/usr/bin/GIT",
            "/usr/bin/../bin/git",
            "/usr//bin/git",
            "/usr/bin/git/",
            "git",
            "/usr/bin/gi?",
            "/usr/*/git",
            "*",
            "**",
            "/*",
            "/**",
            "",
            "~/git",
        ] {
            assert!(!entry(other).matches(&file("/usr/bin/git")), "{other}");
        }
    }

    #[test]
    fn a_folder_stands_for_its_own_files_and_two_stars_for_all_beneath() {
        assert!(entry("/opt/*").matches(&file("/opt/tool")));
        assert!(!entry("/opt/*").matches(&file("/opt/a/tool")));
        assert!(entry("/opt/**").matches(&file("/opt/a/tool")));
        assert!(!entry("/opt/**").matches(&file("/opt2/tool")));
        assert!(!entry("/o*/*").matches(&file("/opt/tool")));
    }

    #[test]
    fn a_digest_narrows_an_entry() {
        let pinned = Entry { pattern: "/opt/x".into(), sha256: Some("AB".into()) };
        assert!(pinned.matches(&file("/opt/x")));
        let other = Entry { sha256: Some("ac".into()), ..pinned.clone() };
        assert!(!other.matches(&file("/opt/x")));
        let entries = Entries { wish: Wish::default(), list: vec![entry("/opt/x")] };
        assert!(entries.names(&file("/opt/x")) && !entries.pins(&file("/opt/x")));
        assert!(Entries { list: vec![pinned], ..entries }.pins(&file("/opt/x")));
    }

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, ApprovalsFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let file = ApprovalsFile::new(dir.path().to_owned());
        (dir, file)
    }

    #[test]
    fn an_existing_file_is_understood_with_the_agents_part_before_the_common_ones() {
        let (dir, file) = written(
            r#"{"version":1,"socket":{"path":"/s","token":"x"},"defaults":{"security":"deny","ask":"on-miss","askFallback":"deny","autoAllowSkills":false},
                "agents":{"*":{"allowlist":[{"id":"1","pattern":"/usr/bin/wc","lastUsedAt":1,"lastUsedCommand":"wc"}]},
                          "main":{"security":"allowlist","allowlist":[{"pattern":"/usr/bin/ls"}]}}}"#,
            0o600,
        );
        let main = file.entries("main").unwrap();
        assert_eq!(main.wish, Wish { security: Some(ExecSecurity::Allowlist), ask: Some(ExecAsk::OnMiss) });
        assert_eq!(main.list.iter().map(|entry| entry.pattern.as_str()).collect::<Vec<_>>(), ["/usr/bin/ls", "/usr/bin/wc"]);
        assert_eq!(file.entries("other").unwrap().wish.security, Some(ExecSecurity::Deny));
        std::fs::remove_file(dir.path().join(NAME)).unwrap();
        assert!(file.entries("main").unwrap().list.is_empty(), "a file that is gone says nothing");
    }

    #[test]
    fn what_a_client_would_write_needs_its_version() {
        let judged = |text: &str| check(&serde_json::from_str(text).unwrap());
        assert_eq!(judged(r#"{"version":1}"#), Ok(()));
        for text in ["{}", r#"{"version":2}"#] {
            assert!(judged(text).unwrap_err().contains("/version"), "{text}");
        }
        assert!(judged(r#"{"version":1,"agents":[]}"#).is_err());
    }

    #[test]
    fn m73_a_file_that_is_damaged_foreign_or_open_to_others_is_a_fault_and_no_empty_list() {
        for text in [
            "",
            "{",
            "[]",
            r#"{"version":2}"#,
            r#"{"agents":[]}"#,
            r#"{"agents":{"main":{"security":"everything"}}}"#,
            r#"{"agents":{"*":{"allowlist":[{"pattern":7}]}}}"#,
        ] {
            let (_dir, file) = written(text, 0o600);
            let fault = file.entries("main").unwrap_err();
            assert!(fault.contains("/exec-approvals.json"), "{text}: {fault}");
        }
        let (dir, file) = written("{}", 0o666);
        let seen = || {
            file.look();
            file.fault()
        };
        assert!(file.fault().unwrap().contains("mode 0666"), "the first to ask looks");
        let path = dir.path().join(NAME);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(file.fault().is_some(), "who only asks does not look again");
        assert_eq!(seen(), None, "a mended file is noticed");
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(seen().unwrap().contains("link"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(seen().is_some());
    }
}
