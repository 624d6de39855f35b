//! What a restart for the configuration leaves for the start after it: who wanted it and why, for the session that is to hear of it.
//!
//! A small file in the state directory, in the form of existing installations. The start after it makes it a system event and takes it away, so that it is told once. Nothing depends on it: one that cannot be read or written is named in the log, and the restart goes on.

use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Gateway;
use crate::protocol::ids::SessionKey;

/// Name of the file in the state directory.
const NAME: &str = "restart-sentinel.json";
/// Version of its form.
const VERSION: u32 = 1;

/// Why the gateway restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartNote {
    /// Always `config-apply`.
    pub kind: String,
    /// Always `ok`: what would not start is not saved.
    pub status: String,
    /// When it was left, ms since the epoch.
    pub ts: u64,
    /// The session that is told, canonical; the default agent's main session if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<SessionKey>,
    /// Why, as the caller said it; null if nothing was said.
    pub message: Option<String>,
    /// What to run to see how the gateway is.
    pub doctor_hint: String,
    /// What was done.
    pub stats: RestartStats,
}

/// What led to a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestartStats {
    /// `config.apply` or `config.patch`.
    pub mode: String,
    /// The configuration file.
    pub root: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    payload: RestartNote,
}

impl RestartNote {
    /// A note of `method`, which changed the configuration file `root`.
    #[must_use]
    pub fn new(method: &str, root: &Path, session_key: Option<SessionKey>, message: Option<String>, ts: u64) -> Self {
        Self {
            kind: "config-apply".to_owned(),
            status: "ok".to_owned(),
            ts,
            session_key,
            message: message.filter(|message| !message.trim().is_empty()),
            doctor_hint: "skykoi-gateway status".to_owned(),
            stats: RestartStats { mode: method.to_owned(), root: root.display().to_string() },
        }
    }

    /// Where the note of this state directory is.
    #[must_use]
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(NAME)
    }

    /// Writes it for the next start; one that is there is replaced.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn leave(self, state_dir: &Path) -> io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = Self::path(state_dir);
        let beside = path.with_extension("json.new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(&File { version: VERSION, payload: self })?)?;
        // Not synced: this very process goes on with the next start, and a power cut is no restart that anybody asked for.
        std::fs::rename(&beside, path)
    }

    /// Takes the note away, if there is one that can be understood.
    #[must_use]
    pub fn take(state_dir: &Path) -> Option<Self> {
        let path = Self::path(state_dir);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return None,
            Err(cause) => {
                warn!(path = %path.display(), %cause, "the note of the restart cannot be read");
                return None;
            }
        };
        if let Err(cause) = std::fs::remove_file(&path) {
            warn!(path = %path.display(), %cause, "the note of the restart cannot be taken away; the next start will tell it again");
        }
        match serde_json::from_slice::<File>(&text) {
            Ok(file) if file.version == VERSION => Some(file.payload),
            Ok(file) => {
                warn!(path = %path.display(), version = file.version, "the note of the restart is of another version and was dropped");
                None
            }
            Err(cause) => {
                warn!(path = %path.display(), %cause, "the note of the restart is damaged and was dropped");
                None
            }
        }
    }

    /// The line that a session is told.
    fn line(&self) -> String {
        let why = self.message.as_deref().map(|message| format!(": {}", message.trim())).unwrap_or_default();
        format!("The gateway was restarted to take a change of its configuration ({}){why}", self.stats.mode)
    }
}

impl Gateway {
    /// Tells the session of a restart that was asked for why it happened, once.
    pub fn tell_restart(&self) {
        let Some(note) = RestartNote::take(&self.loaded().paths.state_dir) else { return };
        let main = || self.sessions.settings().main_key(self.agents().default_id());
        let key = note.session_key.clone().unwrap_or_else(main);
        self.system_events.push(&key, &note.line(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(session_key: Option<SessionKey>, message: Option<&str>) -> RestartNote {
        RestartNote::new("config.patch", Path::new("/c.json"), session_key, message.map(str::to_owned), 5)
    }

    #[test]
    fn a_note_is_taken_once_and_is_as_it_was_left() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RestartNote::take(dir.path()), None);
        let left = note(Some("agent:main:a".into()), Some("more lanes"));
        note(None, None).leave(dir.path()).unwrap();
        left.clone().leave(dir.path()).unwrap();
        assert_eq!(RestartNote::path(dir.path()).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(RestartNote::take(dir.path()), Some(left));
        assert_eq!(RestartNote::take(dir.path()), None);
    }

    #[test]
    fn a_damaged_note_and_one_of_another_version_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"version\":1}", &serde_json::to_string(&File { version: 2, payload: note(None, None) }).unwrap()] {
            std::fs::write(RestartNote::path(dir.path()), text).unwrap();
            assert_eq!(RestartNote::take(dir.path()), None, "{text}");
            assert!(!RestartNote::path(dir.path()).exists(), "{text}");
        }
    }

    #[test]
    fn the_line_says_why_if_somebody_said_it() {
        assert!(note(None, Some(" more lanes ")).line().ends_with("(config.patch): more lanes"));
        assert!(note(None, Some("  ")).line().ends_with("(config.patch)"));
    }
}
