//! The sessions in use, as they were last committed: a session is looked up several times for each run, and every question to the reader's thread costs two wake-ups.
//!
//! The writer brings the rows up to date after a commit and before anybody is answered, so that whoever was told of a change finds it. A row that was read meanwhile is only taken if nothing was committed since the question was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::op::{Applied, Op};
use super::sessions::SessionRecord;
use crate::protocol::ids::SessionKey;

/// Most rows that are kept.
const ROWS: usize = 64;
/// A row with more than this of an imported store is not kept, bytes.
const EXTRA: usize = 8 << 10;

/// The rows. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Warm(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    of: HashMap<SessionKey, SessionRecord>,
    /// Grows with every commit that concerns sessions.
    commits: u64,
}

/// What the rows were when a question was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked(u64);

impl Warm {
    /// The row, or leave to bring it.
    ///
    /// # Errors
    /// It is not here; hand what the reader says to [`Self::keep`].
    pub fn get(&self, key: &SessionKey) -> Result<SessionRecord, Asked> {
        let rows = self.rows();
        rows.of.get(key).cloned().ok_or(Asked(rows.commits))
    }

    /// Keeps a row that was read, unless it may be older than what is here.
    pub fn keep(&self, asked: Asked, row: &SessionRecord) {
        let mut rows = self.rows();
        if rows.commits == asked.0 {
            rows.put(row);
        }
    }

    /// Takes over what was committed. `results` belong to `ops`.
    pub fn committed(&self, ops: &[Op], results: &[Result<Applied, StoreError>]) {
        if !ops.iter().any(concerns_sessions) {
            return;
        }
        let mut rows = self.rows();
        rows.commits += 1;
        for (op, result) in ops.iter().zip(results) {
            match (op, result) {
                (Op::EditSession { key, .. }, Ok(Applied::Changed(change))) => match &change.after {
                    Some(row) => rows.put(row),
                    None => drop(rows.of.remove(key)),
                },
                (Op::NoteLooks(looks), _) => drop(rows.of.remove(&looks.key)),
                (Op::ImportSessions(_), _) => rows.of.clear(),
                _ => {}
            }
        }
    }

    /// Forgets all rows, because nobody knows what was committed.
    pub fn forget(&self) {
        let mut rows = self.rows();
        rows.commits += 1;
        rows.of.clear();
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn put(&mut self, row: &SessionRecord) {
        if row.extra.as_ref().is_some_and(|extra| extra.len() > EXTRA) {
            self.of.remove(&row.key);
            return;
        }
        if self.of.len() >= ROWS && !self.of.contains_key(&row.key) {
            // Which one goes makes no difference that could be measured: it is read again when it is needed.
            let first = self.of.keys().next().cloned();
            first.map(|key| self.of.remove(&key));
        }
        self.of.insert(row.key.clone(), row.clone());
    }
}

fn concerns_sessions(op: &Op) -> bool {
    matches!(op, Op::EditSession { .. } | Op::NoteLooks(_) | Op::ImportSessions(_))
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::contract::{NOW, new_run, place};
    use super::super::sessions::{Edited, Import, Looks, SessionEdit};
    use super::*;
    use crate::protocol::ids::AgentId;
    use crate::protocol::session::entry::SessionEntry;

    fn row(key: &str, at: u64) -> SessionRecord {
        SessionRecord::new(SessionKey::from(key), AgentId::from("main"), SessionEntry::begun(format!("id-of-{key}"), at))
    }

    fn put(row: SessionRecord) -> SessionEdit {
        SessionEdit::new(move |_| Ok(Edited::Put(Box::new(row.clone()))))
    }

    /// What the store says with its rows in memory must be what a fresh reader of the same file says.
    async fn same_as_on_disk(store: &Store, path: &std::path::Path, keys: &[SessionKey]) {
        for key in keys {
            for _ in 0..2 {
                let fresh = Store::open(path).unwrap();
                assert_eq!(store.session(key).await.unwrap(), fresh.session(key).await.unwrap(), "{key:?}");
            }
        }
    }

    #[tokio::test]
    async fn whatever_is_changed_the_row_in_memory_is_the_one_on_disk() {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        let keys = ["agent:main:main", "agent:main:x", "agent:main:y"].map(SessionKey::from);
        store.accept_run(new_run("a")).await.unwrap();
        same_as_on_disk(&store, &path, &keys).await;
        let [main, x, y] = &keys;
        store.edit_session(x, put(SessionRecord { title: Some("t".into()), ..row("agent:main:x", NOW) })).await.unwrap();
        // A row keeps the time of its making, whatever a change says.
        store.edit_session(x, put(SessionRecord { created_at: 7, ..row("agent:main:x", NOW + 5) })).await.unwrap();
        same_as_on_disk(&store, &path, &keys).await;
        let refused = store.edit_session(x, SessionEdit::new(|_| Err("no".to_owned()))).await;
        assert!(refused.is_err());
        store.note_looks(Looks { key: x.clone(), session_id: "id-of-agent:main:x".into(), title: "new".into(), preview: "p".into() });
        store.ping().await.unwrap();
        assert_eq!(store.session(x).await.unwrap().and_then(|row| row.title).as_deref(), Some("new"));
        same_as_on_disk(&store, &path, &keys).await;
        store.edit_session(main, SessionEdit::new(|_| Ok(Edited::Same))).await.unwrap();
        let import = Import { source: "s".into(), now: NOW, rows: vec![row("agent:main:y", NOW), row("agent:main:x", NOW + 90)] };
        store.import_sessions(import).await.unwrap();
        same_as_on_disk(&store, &path, &keys).await;
        assert!(store.session(y).await.unwrap().is_some());
        store.edit_session(x, SessionEdit::new(|_| Ok(Edited::Gone))).await.unwrap();
        assert_eq!(store.session(x).await.unwrap(), None);
        same_as_on_disk(&store, &path, &keys).await;
    }

    #[test]
    fn a_row_that_was_read_before_a_commit_is_not_kept_after_it() {
        let warm = Warm::default();
        let old = row("agent:main:x", NOW);
        let asked = warm.get(&old.key).unwrap_err();
        let gone = Op::EditSession { key: old.key.clone(), edit: put(old.clone()) };
        warm.committed(&[gone], &[Ok(Applied::Changed(Box::default()))]);
        warm.keep(asked, &old);
        let asked = warm.get(&old.key).unwrap_err();
        warm.keep(asked, &old);
        assert_eq!(warm.get(&old.key).unwrap(), old);
    }

    #[test]
    fn only_so_many_rows_are_kept_and_no_huge_one() {
        let warm = Warm::default();
        for n in 0..3 * ROWS {
            let row = row(&format!("agent:main:{n}"), NOW);
            let asked = warm.get(&row.key).unwrap_err();
            warm.keep(asked, &row);
            assert!(warm.get(&row.key).is_ok() && warm.rows().of.len() <= ROWS);
        }
        let huge = SessionRecord { extra: Some("x".repeat(EXTRA + 1)), ..row("agent:main:1", NOW) };
        let asked = warm.get(&SessionKey::from("agent:none:none")).unwrap_err();
        warm.keep(asked, &huge);
        assert!(warm.get(&huge.key).is_err());
    }
}
