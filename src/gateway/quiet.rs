//! Ends the work of a session, and puts its conversation away.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::Gateway;
use crate::audit::{Action, Event};
use crate::protocol::ids::SessionKey;
use crate::protocol::session::entry::SessionEntry;
use crate::sessions::gate::Closed;
use crate::sessions::turn::start_afresh;
use crate::store::StoreError;
use crate::store::sessions::{SessionFilter, SessionRecord};
use crate::transcript::error::TranscriptError;

/// How long the runs of a session may take to end.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Why a session was not quieted, reset or deleted.
#[derive(Debug)]
pub enum NotQuiet {
    /// A run of it did not end in time.
    Active,
    /// The store did not take it.
    Store(StoreError),
    /// The transcript could not be put away.
    Transcript(TranscriptError),
}

impl From<StoreError> for NotQuiet {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Gateway {
    /// Closes a session for new turns, aborts its runs and waits until they have ended. The session stays closed while the guard lives.
    ///
    /// # Errors
    /// A run did not end within [`PATIENCE`].
    pub async fn quiet(&self, key: &SessionKey, reason: &str) -> Result<Closed, NotQuiet> {
        let deadline = Instant::now() + PATIENCE;
        // A turn that is just beginning passes first; its run is then among those that are ended.
        let Ok(closed) = tokio::time::timeout_at(deadline, self.sessions.close(key)).await else { return Err(NotQuiet::Active) };
        for live in &self.runs.abort_session(key, |_| true, reason).await {
            self.audit.note(Event::new(Action::Abort).target(live.record.run_id.as_str()).because(reason));
            if live.wait(Some(deadline)).await.is_none() {
                return Err(NotQuiet::Active);
            }
        }
        Ok(closed)
    }

    /// Starts a session's conversation afresh, and puts the old one away.
    ///
    /// # Errors
    /// A run of it does not end, the store does not take it, or the transcript cannot be renamed; in the last case the new conversation has begun all the same.
    pub async fn reset_session(&self, key: &SessionKey) -> Result<SessionEntry, NotQuiet> {
        let _closed = self.quiet(key, "reset").await?;
        let old = self.sessions.get(key).await?;
        let (now, session_id) = (self.now(), uuid::Uuid::new_v4().to_string());
        let edit = move |row: &mut SessionRecord| {
            start_afresh(row, session_id.clone(), now);
            Ok(())
        };
        let row = self.sessions.update(key, now, "reset", edit).await?;
        if let Some(old) = old {
            self.put_away(&old, "reset").await?;
        }
        Ok(row.entry)
    }

    /// Renames the transcript of a session that has another one now, or none. A conversation that also stands under another key stays where it is.
    ///
    /// # Errors
    /// The store cannot be read or the file not renamed.
    pub async fn put_away(&self, old: &SessionRecord, why: &'static str) -> Result<Option<PathBuf>, NotQuiet> {
        let same =
            SessionFilter { session_id: Some(old.entry.session_id.clone()), global: true, unknown: true, ..SessionFilter::default() };
        if self.store.count_sessions(same).await? > 0 {
            return Ok(None);
        }
        let (path, now) = (self.sessions.transcript_path(old), self.now());
        self.transcripts.run(move |transcripts| transcripts.archive(&path, why, now)).await.map_err(NotQuiet::Transcript)
    }
}
