//! Sessions: how they are named, when they start afresh, who may send, and what is kept of them.
//!
//! [`Sessions`] is the service over the store's rows. Rules are pure files beside it (`reset`, `dm`, `send`, `patch`); they take rows, settings and time, and give rows.
//!
//! It deliberately does not start or stop runs, and it does not read or write transcripts: it says where they are.

pub mod dm;
pub mod gate;
pub mod import;
pub mod key;
pub mod levels;
pub mod models;
pub mod patch;
pub mod programs;
pub mod reset;
pub mod send;
pub mod turn;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::broadcast;

use crate::config::session::{Session as Rules, SessionScope};
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::session::entry::SessionEntry;
use crate::store::sessions::{Change, Edited, SessionEdit, SessionRecord};
use crate::store::{Store, StoreError};

/// How many changes a listener may lag behind before it has to look at everything.
const CHANGES: usize = 256;

/// What the service needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state directory.
    pub state_dir: PathBuf,
    /// The agent of keys that name none.
    pub default_agent: AgentId,
    /// The section `session`.
    pub rules: Rules,
}

impl Settings {
    /// Whether all senders share the one session `global`.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.rules.scope == SessionScope::Global
    }

    /// The session of messages to `agent` that name none.
    #[must_use]
    pub fn main_key(&self, agent: &AgentId) -> SessionKey {
        if self.is_global() { SessionKey::from(key::GLOBAL) } else { key::main_key(agent) }
    }

    /// The one spelling of `text`, a key in any form, for requests to `agent` unless it names another.
    ///
    /// # Errors
    /// See [`key::canonical`].
    pub fn canonical(&self, text: &str, agent: &AgentId) -> Result<SessionKey, &'static str> {
        let key = key::canonical(text, agent)?;
        Ok(if self.is_global() && key == key::main_key(agent) { self.main_key(agent) } else { key })
    }
}

/// Something happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The session.
    pub key: SessionKey,
    /// What: `patch`, `reset`, `delete`, `compact`, `create`, `daily`, `idle`, or `message`.
    pub reason: &'static str,
    /// `start` or `end` of a turn.
    pub phase: Option<&'static str>,
}

/// The service; clones are the same one.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RwLock<Arc<Settings>>,
    store: Store,
    gates: gate::Gates,
    /// Activity whose note may not be committed yet.
    touched: Mutex<HashMap<SessionKey, u64>>,
    changes: broadcast::Sender<Notice>,
}

impl Sessions {
    /// The sessions of this store.
    #[must_use]
    pub fn new(settings: Settings, store: Store) -> Self {
        let inner = Inner {
            settings: RwLock::new(Arc::new(settings)),
            store,
            gates: gate::Gates::default(),
            touched: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The settings in use.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.inner.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses other settings from here on.
    pub fn set_settings(&self, settings: Settings) {
        *self.inner.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The session of this canonical key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get(&self, key: &SessionKey) -> Result<Option<SessionRecord>, StoreError> {
        self.inner.store.session(key).await
    }

    /// Changes what is kept of a session, which is made if it is not there. `edit` runs in the store's writer and must be pure and quick.
    ///
    /// # Errors
    /// `Refused` with the text of `edit`, or the store cannot be written.
    pub async fn update<F>(&self, key: &SessionKey, now: u64, reason: &'static str, edit: F) -> Result<SessionRecord, StoreError>
    where
        F: Fn(&mut SessionRecord) -> Result<(), String> + Send + Sync + 'static,
    {
        let (blank, kept) = (self.blank(key, now), self.blank(key, now));
        let edit = SessionEdit::new(move |row| {
            let mut row = row.cloned().unwrap_or_else(|| blank.clone());
            edit(&mut row)?;
            Ok(Edited::Put(Box::new(row)))
        });
        let change = self.edit(key, reason, edit).await?;
        Ok(change.after.map_or(kept, |row| *row))
    }

    /// As [`Self::update`], for changes that may also leave out or remove the row.
    ///
    /// # Errors
    /// See [`Self::update`].
    pub async fn edit(&self, key: &SessionKey, reason: &'static str, edit: SessionEdit) -> Result<Change, StoreError> {
        let change = self.inner.store.edit_session(key, edit).await?;
        if change.before != change.after {
            self.announce(key, reason, None);
        }
        Ok(change)
    }

    /// Closes a session for turns until the guard is dropped.
    pub async fn close(&self, key: &SessionKey) -> gate::Closed {
        self.inner.gates.close(key).await
    }

    /// Where the transcript of a session's conversation is.
    #[must_use]
    pub fn transcript_path(&self, session: &SessionRecord) -> PathBuf {
        match &session.entry.session_file {
            Some(file) if Path::new(file).starts_with(&self.settings().state_dir) => PathBuf::from(file),
            _ => self.transcripts_of(&session.agent_id).join(format!("{}.jsonl", session.entry.session_id)),
        }
    }

    /// The directory of an agent's transcripts.
    #[must_use]
    pub fn transcripts_of(&self, agent: &AgentId) -> PathBuf {
        self.settings().state_dir.join("agents").join(agent.as_str()).join("sessions")
    }

    /// What happens to sessions from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Notice> {
        self.inner.changes.subscribe()
    }

    /// Tells listeners that something happened to a session.
    pub fn announce(&self, key: &SessionKey, reason: &'static str, phase: Option<&'static str>) {
        // An error only means that nobody listens.
        let _ = self.inner.changes.send(Notice { key: key.clone(), reason, phase });
    }

    /// A session that begins now. The agent of a key that names none is the default one.
    fn blank(&self, key: &SessionKey, now: u64) -> SessionRecord {
        let agent = key::agent_of(key).unwrap_or_else(|| self.settings().default_agent.clone());
        SessionRecord::new(key.clone(), agent, SessionEntry::begun(fresh_id(), now))
    }
}

/// An id for a new conversation.
fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
