//! Sessions as the store keeps them, the questions about them, and how they are changed.
//!
//! A change is a function from the row as it is to the row as it shall be. It runs inside the writer's transaction, so that two changes never lose each other; it must be pure, because ids and times are decided before.

use std::fmt;
use std::sync::Arc;

use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::run::RunStatus;
use crate::protocol::session::SessionKind;
use crate::protocol::session::entry::SessionEntry;

/// Longest page of sessions.
pub const MAX_SESSIONS: usize = 1000;

/// A session as the store knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Its canonical key.
    pub key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// When it was first used, ms since the epoch.
    pub created_at: u64,
    /// Everything that parts of this program know of it.
    pub entry: SessionEntry,
    /// What an imported store held beside that: a JSON object, kept as it was.
    pub extra: Option<String>,
    /// Beginning of the first message; none = not looked up.
    pub title: Option<String>,
    /// Beginning of the newest message; none = not looked up.
    pub preview: Option<String>,
}

impl SessionRecord {
    /// A session that begins with this entry.
    #[must_use]
    pub fn new(key: SessionKey, agent_id: AgentId, entry: SessionEntry) -> Self {
        Self { key, agent_id, created_at: entry.updated_at, entry, extra: None, title: None, preview: None }
    }

    /// What kind of conversation it is.
    #[must_use]
    pub fn kind(&self) -> SessionKind {
        SessionKind::of(self.key.as_str(), self.entry.chat_type.as_deref())
    }
}

/// What a change makes of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Edited {
    /// It stays as it is.
    Same,
    /// This is the row from now on.
    Put(Box<SessionRecord>),
    /// There is no row any more.
    Gone,
}

type EditFn = dyn Fn(Option<&SessionRecord>) -> Result<Edited, String> + Send + Sync;

/// A change of one session. Its error is one line for the client, and changes nothing.
#[derive(Clone)]
pub struct SessionEdit(Arc<EditFn>);

impl SessionEdit {
    /// The change that `edit` makes of the row as it is, if there is one.
    pub fn new(edit: impl Fn(Option<&SessionRecord>) -> Result<Edited, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(edit))
    }

    /// What becomes of the row.
    ///
    /// # Errors
    /// The change is refused.
    pub fn apply(&self, row: Option<&SessionRecord>) -> Result<Edited, String> {
        (self.0)(row)
    }
}

impl fmt::Debug for SessionEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionEdit(..)")
    }
}

/// A row before and after a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// As it was.
    pub before: Option<Box<SessionRecord>>,
    /// As it is.
    pub after: Option<Box<SessionRecord>>,
}

/// What the texts of a transcript look like in lists, kept so that listing reads no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looks {
    /// The session.
    pub key: SessionKey,
    /// The conversation they belong to; of another one they are left out.
    pub session_id: String,
    /// Beginning of the first message, empty if there is none.
    pub title: String,
    /// Beginning of the newest message, empty if there is none.
    pub preview: String,
}

/// Rows of another store.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The file they come from, absolute.
    pub source: String,
    /// Now, ms since the epoch.
    pub now: u64,
    /// The rows. One that is here already and was used later is kept.
    pub rows: Vec<SessionRecord>,
}

/// Which sessions to list. The default is the most recently used 100, without the global and the unknown one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFilter {
    /// At most so many, 1 to 1000.
    pub limit: usize,
    /// Without the first so many.
    pub offset: usize,
    /// Only those behind this place, as an earlier page gave it.
    pub after: Option<SessionCursor>,
    /// Only those one of whose names contains this, in any case.
    pub search: Option<String>,
    /// Only of these agents; empty = of all.
    pub agents: Vec<AgentId>,
    /// Only those used at or after this time, ms since the epoch.
    pub active_since: Option<u64>,
    /// Only those not used since this time, ms since the epoch.
    pub idle_since: Option<u64>,
    /// Only those that another session started.
    pub spawned: bool,
    /// Only the one with this label.
    pub label: Option<String>,
    /// Only those that this session started.
    pub spawned_by: Option<String>,
    /// Only this one, of whatever kind it is.
    pub key: Option<SessionKey>,
    /// Only those of this conversation.
    pub session_id: Option<String>,
    /// The global session too.
    pub global: bool,
    /// The session of unknown senders too.
    pub unknown: bool,
}

impl SessionFilter {
    /// Whether it asks for kinds of sessions and for nothing else, whatever its page.
    #[must_use]
    pub fn is_of_kinds_alone(&self) -> bool {
        let Self { limit, offset, after, global, unknown, .. } = *self;
        *self == Self { limit, offset, after, global, unknown, ..Self::default() }
    }
}

impl Default for SessionFilter {
    fn default() -> Self {
        Self {
            limit: 100,
            offset: 0,
            after: None,
            search: None,
            agents: Vec::new(),
            active_since: None,
            idle_since: None,
            spawned: false,
            label: None,
            spawned_by: None,
            key: None,
            session_id: None,
            global: false,
            unknown: false,
        }
    }
}

/// A place in the order of last use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCursor {
    /// Last activity of the row before.
    pub updated_at: u64,
    /// Number of that row.
    pub n: u64,
}

impl SessionCursor {
    /// The cursor as clients hold it.
    #[must_use]
    pub fn text(self) -> String {
        format!("{}.{}", self.updated_at, self.n)
    }

    /// The cursor of this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (updated_at, n) = text.split_once('.')?;
        Some(Self { updated_at: updated_at.parse().ok()?, n: n.parse().ok()? })
    }
}

/// Some sessions, the most recently used first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionPage {
    /// The sessions.
    pub rows: Vec<Listed>,
    /// How many the filter lets through in all.
    pub total: usize,
    /// How many of them come before this page.
    pub skipped: usize,
    /// Where the next page begins, if there is one.
    pub next: Option<SessionCursor>,
}

/// A session in a list. Its `extra` is not read.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The session.
    pub session: SessionRecord,
    /// How many of its runs are kept.
    pub run_count: u64,
    /// Its newest run.
    pub last_run: Option<LastRun>,
}

/// The newest run of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// The run.
    pub run_id: RunId,
    /// Where it stands.
    pub status: RunStatus,
}
