//! The operations as SQL, each inside a savepoint of the batch's transaction.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::error::StoreError;
use super::lockouts;
use super::op::{Accept, Applied, Op};
use super::record::{Accepted, NewRun, RunRecord};
use super::sql_read::{RUN_COLUMNS, ms, run_record};
use super::{sql_devices, sql_sessions, usage};
use crate::protocol::ids::RunId;
use crate::protocol::run::{Outcome, RunStatus};

/// How long a key outlives its run, in ms.
pub const KEY_LIFE_MS: u64 = 24 * 60 * 60 * 1000;

/// Why an operation was not applied.
#[derive(Debug)]
pub enum Failure {
    /// Our own rule.
    Refused(StoreError),
    /// SQLite.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Applies one operation.
///
/// # Errors
/// It is refused or a statement failed; the caller rolls back to its savepoint.
pub fn apply(conn: &Connection, op: &Op) -> Result<Applied, Failure> {
    match op {
        Op::Accept(accept) => Ok(Applied::Accepted(Box::new(accept_run(conn, accept)?))),
        Op::SetStatus { file_id, status, started_at } => set_status(conn, file_id, *status, *started_at),
        Op::Finish { file_id, outcome, head, untold } => finish(conn, file_id, outcome, *head, *untold),
        Op::Merge { file_id, merged, spec } => merge(conn, file_id, merged, spec),
        Op::Told { file_ids } => told(conn, file_ids),
        Op::Known(run) => Ok(Applied::Known(used_key(conn, run)?.map(Box::new))),
        Op::DropKeys { ended_until, limit } => drop_keys(conn, *ended_until, *limit),
        Op::Forget { file_ids } => forget(conn, file_ids),
        Op::EditSession { key, edit } => sql_sessions::edit(conn, key, edit),
        Op::NoteLooks(looks) => sql_sessions::note_looks(conn, looks),
        Op::ImportSessions(import) => sql_sessions::import(conn, import),
        Op::SaveApproval(record) => super::approvals::save(conn, record),
        Op::DropApprovals { created_until, limit } => super::approvals::drop_old(conn, *created_until, *limit),
        Op::WriteDevices(writes) => sql_devices::write(conn, writes),
        Op::KeepLockout(row) => lockouts::keep(conn, row),
        Op::Ping => {
            execute(conn, "UPDATE probe SET times = times + 1", [])?;
            Ok(Applied::Done)
        }
    }
}

/// Runs a statement that is kept ready: most of the time of a small write would else go into reading its text.
pub fn execute(conn: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    conn.prepare_cached(sql)?.execute(values)
}

/// The same for a question with one yes or no.
pub fn exists(conn: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<bool> {
    conn.prepare_cached(sql)?.query_row(values, |row| row.get(0))
}

fn accept_run(conn: &Connection, accept: &Accept) -> Result<Accepted, Failure> {
    let run = &accept.run;
    if let Some(known) = used_key(conn, run)? {
        return Ok(known);
    }
    sql_sessions::ensure(conn, &run.session_key, &run.agent_id, &accept.new_session_id, run.accepted_at)?;
    let taken: bool = exists(conn, "SELECT EXISTS (SELECT 1 FROM runs WHERE run_id = ?1)", [run.run_id.as_str()])?;
    let run_id = if taken { &accept.spare_run_id } else { &run.run_id };
    insert_run(conn, run, run_id)?;
    Ok(Accepted::New(new_record(run, run_id.clone())))
}

/// What the run's key leads to, if it was used. It counts until it is dropped: the times of two rows alone would let one step of the wall clock run work twice.
fn used_key(conn: &Connection, run: &NewRun) -> Result<Option<Accepted>, Failure> {
    let Some(key) = &run.key else { return Ok(None) };
    let sql = format!("SELECT {RUN_COLUMNS}, digest FROM runs WHERE principal = ?1 AND method = ?2 AND key = ?3");
    let known = conn
        .prepare_cached(&sql)?
        .query_row(params![run.principal, run.method, key], |row| Ok((run_record(row)?, row.get::<_, [u8; 32]>("digest")?)))
        .optional()?;
    let Some((record, digest)) = known else { return Ok(None) };
    Ok(Some(if digest == run.digest { Accepted::Same(record) } else { Accepted::Conflict }))
}

fn insert_run(conn: &Connection, run: &NewRun, run_id: &RunId) -> Result<(), Failure> {
    execute(
        conn,
        "INSERT INTO runs (file_id, run_id, principal, method, key, digest, session_key, agent_id, runner, status, title, accepted_at, spec, queue)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            run.file_id,
            run_id.as_str(),
            run.principal,
            run.method,
            run.key,
            run.digest,
            run.session_key.as_str(),
            run.agent_id.as_str(),
            run.runner,
            RunStatus::Accepted.name(),
            run.title,
            ms(run.accepted_at),
            run.spec,
            run.queue,
        ],
    )?;
    Ok(())
}

fn new_record(run: &NewRun, run_id: RunId) -> RunRecord {
    RunRecord {
        file_id: run.file_id.clone(),
        run_id,
        principal: run.principal.clone(),
        session_key: run.session_key.clone(),
        agent_id: run.agent_id.clone(),
        runner: run.runner.clone(),
        status: RunStatus::Accepted,
        title: run.title.clone(),
        spec: run.spec.clone(),
        accepted_at: run.accepted_at,
        started_at: None,
        outcome: None,
        head: 0,
        queue: run.queue.clone(),
        merged_into: None,
    }
}

/// Moves a run forward. A run that is there already or further says nothing, because notes may come late.
fn set_status(conn: &Connection, file_id: &str, status: RunStatus, started_at: Option<u64>) -> Result<Applied, Failure> {
    let before: &[&str] = match status {
        RunStatus::Queued => &["accepted", "accepted"],
        RunStatus::Running => &["accepted", "queued"],
        _ => return Err(Failure::Refused(StoreError::Refused(format!("a run is not moved to `{}` this way", status.name())))),
    };
    let (Some(first), Some(second)) = (before.first(), before.get(1)) else { return Ok(Applied::Done) };
    execute(
        conn,
        "UPDATE runs SET status = ?2, started_at = coalesce(?3, started_at) WHERE file_id = ?1 AND status IN (?4, ?5)",
        params![file_id, status.name(), started_at.map(ms), first, second],
    )?;
    Ok(Applied::Done)
}

fn finish(conn: &Connection, file_id: &str, outcome: &Outcome, head: u64, untold: bool) -> Result<Applied, Failure> {
    if !outcome.status.is_terminal() {
        return Err(Failure::Refused(StoreError::Refused(format!("`{}` is no end of a run", outcome.status.name()))));
    }
    let text = serde_json::to_string(outcome).map_err(|error| Failure::Refused(StoreError::Refused(error.to_string())))?;
    let changed = execute(
        conn,
        "UPDATE runs SET status = ?2, outcome = ?3, ended_at = ?4, started_at = coalesce(?5, started_at), head = ?6, untold = ?7
         WHERE file_id = ?1 AND ended_at IS NULL",
        params![file_id, outcome.status.name(), text, ms(outcome.ended_at), outcome.started_at.map(ms), ms(head), untold.then_some(1)],
    )?;
    if changed == 0 {
        let known: bool = exists(conn, "SELECT EXISTS (SELECT 1 FROM runs WHERE file_id = ?1)", [file_id])?;
        return if known { Ok(Applied::First(false)) } else { Err(Failure::Refused(StoreError::NotFound)) };
    }
    Ok(Applied::First(true))
}

/// Both in one: a turn that works for others must not start before they are known to be answered by it.
fn merge(conn: &Connection, file_id: &str, merged: &[String], spec: &str) -> Result<Applied, Failure> {
    let changed = execute(conn, "UPDATE runs SET spec = ?2 WHERE file_id = ?1 AND ended_at IS NULL", params![file_id, spec])?;
    if changed == 0 {
        return Err(Failure::Refused(StoreError::NotFound));
    }
    for other in merged {
        execute(conn, "UPDATE runs SET merged_into = ?2 WHERE file_id = ?1 AND ended_at IS NULL", params![other, file_id])?;
    }
    Ok(Applied::Done)
}

fn told(conn: &Connection, file_ids: &[String]) -> Result<Applied, Failure> {
    for file_id in file_ids {
        execute(conn, "UPDATE runs SET untold = NULL WHERE file_id = ?1", [file_id])?;
    }
    Ok(Applied::Done)
}

/// Forgets runs that have ended; one that has not is kept whatever the caller says.
fn forget(conn: &Connection, file_ids: &[String]) -> Result<Applied, Failure> {
    usage::keep(conn, file_ids)?;
    let mut statement = conn.prepare("DELETE FROM runs WHERE file_id = ?1 AND ended_at IS NOT NULL")?;
    let mut n = 0;
    for file_id in file_ids {
        n += statement.execute([file_id])?;
    }
    Ok(Applied::Count(n))
}

fn drop_keys(conn: &Connection, ended_until: u64, limit: usize) -> Result<Applied, Failure> {
    let n = execute(
        conn,
        "UPDATE runs SET key = NULL WHERE n IN
           (SELECT n FROM runs WHERE ended_at <= ?1 AND key IS NOT NULL ORDER BY ended_at LIMIT ?2)",
        [ms(ended_until), ms(limit as u64)],
    )?;
    Ok(Applied::Count(n))
}
