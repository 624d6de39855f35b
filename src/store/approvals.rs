//! Approvals as the store keeps them, and how they are written: each write names the revision that it was made from, so that of two that meet only the first counts.
//!
//! What may follow what is not known here; that is `approvals/life.rs`.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params, params_from_iter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StoreError;
use super::op::{Applied, Found, Op, Query};
use super::sql_read::{ms, unreadable, unsigned};
use super::sql_write::{Failure, execute};
use super::{Store, mismatch};
use crate::protocol::approval::{ApprovalRequest, ApprovalState, Decision, Party, Vote};
use crate::protocol::ids::RunId;

/// Most rows of one answer.
pub const MAX_APPROVALS: usize = 500;

/// An approval as the store knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalRecord {
    /// Its id: 128 random bits, hexadecimal.
    pub id: String,
    /// Where it stands.
    pub state: ApprovalState,
    /// Counts its writes, from 1.
    pub revision: u64,
    /// The run that waits for it, by its name on disk; none when a client asked.
    pub file_id: Option<String>,
    /// SHA-256 of `subject`.
    pub digest: [u8; 32],
    /// When it was asked for, ms since the epoch.
    pub created_at: u64,
    /// Until when it waits, ms since the epoch.
    pub expires_at: u64,
    /// The rest.
    pub body: ApprovalBody,
}

/// What nothing is looked up by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalBody {
    /// Everything that the approval is bound to, in its canonical form.
    pub subject: Value,
    /// What a person is shown.
    pub prompt: String,
    /// The same in the form that clients know.
    pub request: ApprovalRequest,
    /// What may be decided.
    pub allowed: Vec<Decision>,
    /// The wire id of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Who asked.
    pub requester: Party,
    /// Others whose messages are part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// How many different approvers must allow it.
    pub needed: u32,
    /// The votes so far.
    #[serde(default)]
    pub votes: Vec<Vote>,
    /// When it left `pending`, ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<u64>,
    /// Whose decision it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// Why it was cancelled or went stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which approvals are wanted, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// Only this one.
    pub id: Option<String>,
    /// Only those of this run, by its name on disk.
    pub file_id: Option<String>,
    /// Only those that can still lead to something: pending, or allowed and not used.
    pub open: bool,
    /// At most so many; 0 = as many as an answer holds.
    pub limit: usize,
}

impl Store {
    /// Writes an approval: a new one has revision 1, a changed one the next after that it was made from. Durable when this returns true; false = somebody else was first, and nothing was written.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn save_approval(&self, record: ApprovalRecord) -> Result<bool, StoreError> {
        match self.apply(Op::SaveApproval(Box::new(record))).await? {
            Applied::First(first) => Ok(first),
            other => Err(mismatch(&other)),
        }
    }

    /// The approvals that a filter lets through, newest first.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn approvals(&self, filter: ApprovalFilter) -> Result<Vec<ApprovalRecord>, StoreError> {
        match self.ask(Query::Approvals(filter)).await? {
            Found::Approvals(records) => Ok(records),
            other => Err(mismatch(&other)),
        }
    }
}

/// Applies [`Op::SaveApproval`].
///
/// # Errors
/// A statement failed, or the record cannot be written down.
pub(super) fn save(conn: &Connection, record: &ApprovalRecord) -> Result<Applied, Failure> {
    let body = serde_json::to_string(&record.body).map_err(|error| Failure::Refused(StoreError::Refused(error.to_string())))?;
    let changed = if record.revision <= 1 {
        execute(
            conn,
            "INSERT INTO approvals (id, state, revision, file_id, digest, created_at, expires_at, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
            params![
                record.id,
                record.state.name(),
                ms(record.revision),
                record.file_id,
                record.digest,
                ms(record.created_at),
                ms(record.expires_at),
                body
            ],
        )?
    } else {
        // What it is bound to never changes, so it is not among what is written.
        execute(
            conn,
            "UPDATE approvals SET state = ?3, revision = ?2, body = ?4 WHERE id = ?1 AND revision = ?2 - 1",
            params![record.id, ms(record.revision), record.state.name(), body],
        )?
    };
    Ok(Applied::First(changed > 0))
}

/// Applies [`Op::DropApprovals`]: forgets approvals that were asked for at or before this time; none of them waits any more.
///
/// # Errors
/// A statement failed.
pub(super) fn drop_old(conn: &Connection, created_until: u64, limit: usize) -> Result<Applied, Failure> {
    let n = execute(
        conn,
        "DELETE FROM approvals WHERE n IN (SELECT n FROM approvals WHERE created_at <= ?1 AND state <> 'pending' ORDER BY n LIMIT ?2)",
        [ms(created_until), ms(limit as u64)],
    )?;
    Ok(Applied::Count(n))
}

/// Answers [`Query::Approvals`].
///
/// # Errors
/// A statement failed or a row is not what we wrote.
pub(super) fn read(conn: &Connection, filter: &ApprovalFilter) -> rusqlite::Result<Vec<ApprovalRecord>> {
    let mut sql = "SELECT id, state, revision, file_id, digest, created_at, expires_at, body FROM approvals WHERE 1".to_owned();
    let mut values = Vec::new();
    if let Some(id) = &filter.id {
        sql.push_str(" AND id = ?");
        values.push(Sql::Text(id.clone()));
    }
    if let Some(file_id) = &filter.file_id {
        sql.push_str(" AND file_id = ?");
        values.push(Sql::Text(file_id.clone()));
    }
    if filter.open {
        sql.push_str(" AND state IN ('pending', 'allowed-once', 'allowed-always')");
    }
    let limit = if filter.limit == 0 { MAX_APPROVALS } else { filter.limit.min(MAX_APPROVALS) };
    sql.push_str(" ORDER BY n DESC LIMIT ?");
    values.push(Sql::Integer(ms(limit as u64)));
    conn.prepare_cached(&sql)?.query_map(params_from_iter(values), record)?.collect()
}

/// The record of a row.
fn record(row: &Row<'_>) -> rusqlite::Result<ApprovalRecord> {
    let state: String = row.get("state")?;
    let body: String = row.get("body")?;
    Ok(ApprovalRecord {
        id: row.get("id")?,
        state: ApprovalState::parse(&state).ok_or_else(|| unreadable("state", format!("unknown state `{state}`").into()))?,
        revision: unsigned(row.get("revision")?),
        file_id: row.get("file_id")?,
        digest: row.get("digest")?,
        created_at: unsigned(row.get("created_at")?),
        expires_at: unsigned(row.get("expires_at")?),
        body: serde_json::from_str(&body).map_err(|error| unreadable("body", error.into()))?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::contract::{NOW, place};
    use crate::store::fault::{Faults, Faulty};
    use crate::store::sqlite::Sqlite;

    /// A pending approval of this id.
    pub(crate) fn approval(id: &str) -> ApprovalRecord {
        ApprovalRecord {
            id: id.to_owned(),
            state: ApprovalState::Pending,
            revision: 1,
            file_id: Some(format!("file-{id}")),
            digest: [7; 32],
            created_at: NOW,
            expires_at: NOW + 120_000,
            body: ApprovalBody {
                subject: json!({"argv": ["ls"]}),
                prompt: "ls".to_owned(),
                request: ApprovalRequest { command: "ls".to_owned(), ..ApprovalRequest::default() },
                allowed: Decision::ALL.to_vec(),
                run_id: Some("r".into()),
                requester: Party { principal: "token".to_owned(), conn_id: None },
                others: Vec::new(),
                needed: 1,
                votes: Vec::new(),
                resolved_at: None,
                resolved_by: None,
                reason: None,
            },
        }
    }

    fn next(record: &ApprovalRecord, state: ApprovalState) -> ApprovalRecord {
        ApprovalRecord { state, revision: record.revision + 1, ..record.clone() }
    }

    #[tokio::test]
    async fn an_approval_is_found_after_reopening_and_an_id_is_taken_once() {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        assert!(store.save_approval(approval("a")).await.unwrap());
        assert!(!store.save_approval(ApprovalRecord { digest: [8; 32], ..approval("a") }).await.unwrap());
        store.close().await.unwrap();
        let store = Store::open(&path).unwrap();
        let of = |id: &str| ApprovalFilter { id: Some(id.to_owned()), ..ApprovalFilter::default() };
        assert_eq!(store.approvals(of("a")).await.unwrap(), [approval("a")]);
        assert_eq!(store.approvals(of("' OR 1=1 --")).await.unwrap(), []);
        let of_run = ApprovalFilter { file_id: Some("file-a".into()), open: true, ..ApprovalFilter::default() };
        assert_eq!(store.approvals(of_run).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn of_two_writes_made_from_one_revision_the_first_counts() {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        let first = approval("a");
        store.save_approval(first.clone()).await.unwrap();
        assert!(store.save_approval(next(&first, ApprovalState::Denied)).await.unwrap());
        assert!(!store.save_approval(next(&first, ApprovalState::AllowedOnce)).await.unwrap());
        assert!(!store.save_approval(next(&approval("none"), ApprovalState::Denied)).await.unwrap());
        let found = store.approvals(ApprovalFilter::default()).await.unwrap();
        assert_eq!((found.len(), found[0].state, found[0].revision), (1, ApprovalState::Denied, 2));
        assert_eq!(store.approvals(ApprovalFilter { open: true, ..ApprovalFilter::default() }).await.unwrap(), []);
    }

    #[tokio::test]
    async fn old_ones_are_pruned_in_steps_and_one_that_waits_is_kept() {
        let (_dir, path) = place();
        let store = Store::open(&path).unwrap();
        store.save_approval(approval("waits")).await.unwrap();
        for n in 0..70 {
            store.save_approval(ApprovalRecord { state: ApprovalState::Denied, ..approval(&n.to_string()) }).await.unwrap();
        }
        store.prune(NOW + crate::store::RETENTION_MS - 1).await.unwrap();
        assert_eq!(store.approvals(ApprovalFilter::default()).await.unwrap().len(), 71);
        store.prune(NOW + crate::store::RETENTION_MS).await.unwrap();
        let left: Vec<_> = store.approvals(ApprovalFilter::default()).await.unwrap().into_iter().map(|record| record.id).collect();
        assert_eq!(left, ["waits"]);
    }

    #[tokio::test]
    async fn m88_an_approval_that_could_not_be_written_is_not_there() {
        let (_dir, path) = place();
        let faults = Faults::default();
        let writer = Faulty::new(Sqlite::open(&path).unwrap(), faults.clone());
        let store = Store::with(Box::new(writer), Box::new(Sqlite::open_reader(&path).unwrap())).unwrap();
        faults.disk_full(true);
        assert_eq!(store.save_approval(approval("a")).await, Err(StoreError::DiskFull));
        assert_eq!(store.approvals(ApprovalFilter::default()).await.unwrap(), []);
        faults.disk_full(false);
        assert!(store.save_approval(approval("a")).await.unwrap());
    }
}
