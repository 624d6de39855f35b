//! The part of the store's handle that is about sessions.

use super::error::StoreError;
use super::op::{Applied, Found, Op, Query};
use super::sessions::{Change, Import, Looks, SessionEdit, SessionFilter, SessionPage, SessionRecord};
use super::writer::Message;
use super::{Store, mismatch};
use crate::protocol::ids::SessionKey;

impl Store {
    /// The session of this canonical key.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn session(&self, key: &SessionKey) -> Result<Option<SessionRecord>, StoreError> {
        let asked = match self.warm.get(key) {
            Ok(row) => return Ok(Some(row)),
            Err(asked) => asked,
        };
        match self.ask(Query::Session(key.clone())).await? {
            Found::Session(row) => {
                row.iter().for_each(|row| self.warm.keep(asked, row));
                Ok(row.map(|row| *row))
            }
            other => Err(mismatch(&other)),
        }
    }

    /// A page of sessions, the most recently used first.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn sessions(&self, filter: SessionFilter) -> Result<SessionPage, StoreError> {
        match self.ask(Query::Sessions(Box::new(filter))).await? {
            Found::Sessions(page) => Ok(page),
            other => Err(mismatch(&other)),
        }
    }

    /// How many sessions the filter lets through, whatever its limit.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn count_sessions(&self, filter: SessionFilter) -> Result<u64, StoreError> {
        match self.ask(Query::CountSessions(Box::new(filter))).await? {
            Found::Count(n) => Ok(n),
            other => Err(mismatch(&other)),
        }
    }

    /// Changes one session and waits until that is durable.
    ///
    /// # Errors
    /// `Refused` with the change's own text, or nothing was written.
    pub async fn edit_session(&self, key: &SessionKey, edit: SessionEdit) -> Result<Change, StoreError> {
        match self.apply(Op::EditSession { key: key.clone(), edit }).await? {
            Applied::Changed(change) => Ok(*change),
            other => Err(mismatch(&other)),
        }
    }

    /// As [`Self::edit_session`], but waits for nothing: it is written after what was asked before it. When the queue is full it is left out and the log says so.
    pub fn note_session(&self, key: &SessionKey, edit: SessionEdit) {
        self.note(Op::EditSession { key: key.clone(), edit });
    }

    /// Keeps what a session's transcript looks like in lists, without waiting.
    pub fn note_looks(&self, looks: Looks) {
        self.note(Op::NoteLooks(Box::new(looks)));
    }

    /// Takes the rows of another store, in one commit. Returns how many were taken.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn import_sessions(&self, import: Import) -> Result<usize, StoreError> {
        self.count(Op::ImportSessions(Box::new(import))).await
    }

    /// Whether rows of this file were taken before.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn was_imported(&self, source: &str) -> Result<bool, StoreError> {
        match self.ask(Query::WasImported(source.to_owned())).await? {
            Found::Count(n) => Ok(n > 0),
            other => Err(mismatch(&other)),
        }
    }

    fn note(&self, op: Op) {
        if let Err(error) = self.ops.try_send(Message::Op(op, None)) {
            tracing::warn!(%error, "a note about a session was left out");
        }
    }
}
