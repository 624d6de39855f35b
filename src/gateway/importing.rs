//! Takes over the sessions of the original: at start those that stand in the state directory, and on request those of any file. The files stay as they are.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::Gateway;
use crate::config::paths::private_dir;
use crate::protocol::ids::AgentId;
use crate::sessions::import::{Parsed, parse};
use crate::sessions::{Sessions, key};
use crate::store::StoreError;
use crate::store::sessions::{Import, SessionRecord};

/// Largest store that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The file, absolute.
    pub path: PathBuf,
    /// How many sessions it holds.
    pub found: usize,
    /// How many were taken; the others are here already and were used later.
    pub taken: usize,
    /// What was left out or changed, one line each.
    pub problems: Vec<String>,
}

/// Why a file was not imported.
#[derive(Debug)]
pub enum NotImported {
    /// It cannot be read as a store; nothing was changed. One line that names the file.
    File(String),
    /// Our own store did not take it.
    Store(StoreError),
}

impl Gateway {
    /// Imports the stores that the original left in the state directory, each once. A file that cannot be read stays, is named in the log, and is tried again at the next start.
    pub async fn import_found(&self) {
        for path in found(&self.loaded().paths.state_dir) {
            match self.store.was_imported(&path.display().to_string()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(cause) => return warn!(%cause, "sessions of the original cannot be looked for"),
            }
            match self.import_sessions(path.clone(), None).await {
                Ok(imported) => {
                    info!(path = %path.display(), sessions = imported.taken, "took over sessions of the original");
                    imported.problems.iter().for_each(|problem| warn!(path = %path.display(), "{problem}"));
                }
                Err(NotImported::File(cause)) => warn!("{cause}; it was left as it is, and is tried again at the next start"),
                Err(NotImported::Store(cause)) => warn!(path = %path.display(), %cause, "sessions of the original could not be stored"),
            }
        }
    }

    /// Imports one store. `agent` is whose it is, unless its place says so.
    ///
    /// # Errors
    /// The file is none, or the store does not take it.
    pub async fn import_sessions(&self, path: PathBuf, agent: Option<AgentId>) -> Result<Imported, NotImported> {
        let agent = agent.or_else(|| agent_of(&path)).unwrap_or_else(|| self.agents().default_id().clone());
        let (sessions, source) = (self.sessions.clone(), path.clone());
        let read = tokio::task::spawn_blocking(move || read(&sessions, &source, &agent)).await;
        let Parsed { rows, problems } = read.unwrap_or_else(|error| Err(error.to_string())).map_err(NotImported::File)?;
        let found = rows.len();
        let import = Import { source: path.display().to_string(), now: self.now(), rows };
        let taken = self.store.import_sessions(import).await.map_err(NotImported::Store)?;
        if taken > 0 {
            self.sessions.announce(&key::main_key(self.agents().default_id()), "import", None);
        }
        Ok(Imported { path, found, taken, problems })
    }
}

/// The stores in a state directory.
fn found(state_dir: &Path) -> Vec<PathBuf> {
    let agents = fs::read_dir(state_dir.join("agents")).into_iter().flatten().flatten();
    let mut found: Vec<_> = agents.map(|agent| agent.path().join("sessions/sessions.json")).filter(|path| path.is_file()).collect();
    found.sort();
    found
}

/// The agent in `…/agents/<id>/sessions/sessions.json`.
fn agent_of(path: &Path) -> Option<AgentId> {
    let sessions = path.parent().filter(|dir| dir.file_name().is_some_and(|name| name == "sessions"))?;
    let agent = sessions.parent().filter(|agent| agent.parent().and_then(Path::file_name).is_some_and(|name| name == "agents"))?;
    let id = agent.file_name()?.to_str()?.to_lowercase();
    key::valid_agent_id(&id).then_some(AgentId(id))
}

/// Reads a store and sees to it that each session's transcript is found.
fn read(sessions: &Sessions, path: &Path, agent: &AgentId) -> Result<Parsed, String> {
    let failed = |cause: &dyn std::fmt::Display| format!("{} cannot be imported: {cause}", path.display());
    let meta = fs::metadata(path).map_err(|error| failed(&error))?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(failed(&"not a file of at most 256 MiB"));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let settings = sessions.settings();
    let mut parsed = parse(&text, agent, &settings).map_err(|error| failed(&error))?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    for row in &mut parsed.rows {
        if let Err(cause) = settle_transcript(sessions, row, dir, &settings.state_dir) {
            parsed.problems.push(format!("{:?}: its transcript could not be copied: {cause}", row.key.as_str()));
        }
    }
    Ok(parsed)
}

/// A transcript beneath the state directory stays where it is; one elsewhere is copied, because nothing outside is opened later.
fn settle_transcript(sessions: &Sessions, row: &mut SessionRecord, dir: &Path, state_dir: &Path) -> io::Result<()> {
    let named = row.entry.session_file.take().map(PathBuf::from).filter(|file| file.is_absolute());
    let source = named.unwrap_or_else(|| dir.join(format!("{}.jsonl", row.entry.session_id)));
    let usual = sessions.transcript_path(row);
    let plain = !source.components().any(|part| part == std::path::Component::ParentDir);
    if source.starts_with(state_dir) && plain {
        if source != usual {
            row.entry.session_file = source.to_str().map(str::to_owned);
        }
        return Ok(());
    }
    if !source.is_file() {
        return Ok(());
    }
    if let Some(dir) = usual.parent() {
        private_dir(dir)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&usual) {
        Ok(mut copy) => {
            io::copy(&mut fs::File::open(&source)?, &mut copy)?;
            copy.sync_all()
        }
        // It was copied before.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_store_says_whose_it_is() {
        let of = |path: &str| agent_of(Path::new(path)).map(|agent| agent.0);
        assert_eq!(of("/x/agents/Koi/sessions/sessions.json").as_deref(), Some("koi"));
        assert_eq!(
            (of("/x/sessions.json"), of("/agents/a b/sessions/sessions.json"), of("/x/y/sessions/sessions.json")),
            (None, None, None)
        );
    }
}
