//! The questions as SQL, and how a row becomes a record.

use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::op::{Found, Query};
use super::record::{ExpiredRun, RunCursor, RunFilter, RunPage, RunRecord};
use super::{sql_devices, sql_sessions};
use crate::clock;
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::run::{Outcome, RunStatus};

/// Columns that [`run_record`] reads.
pub const RUN_COLUMNS: &str = "runs.n, runs.file_id, runs.run_id, runs.principal, runs.session_key, runs.agent_id, runs.runner, runs.status, \
     runs.title, runs.spec, runs.accepted_at, runs.started_at, runs.outcome, runs.head, runs.queue, runs.merged_into";
/// The same without the text that a listing does not show; it may be megabytes.
const LISTED_COLUMNS: &str = "runs.n, runs.file_id, runs.run_id, runs.principal, runs.session_key, runs.agent_id, runs.runner, runs.status, \
     runs.title, '' AS spec, runs.accepted_at, runs.started_at, runs.outcome, runs.head, runs.queue, runs.merged_into";
const MAX_RUNS: usize = 200;

/// A count or a time as SQLite stores it; times beyond the year 292 million read as the last one.
#[must_use]
pub fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A stored number as it is used; nothing stored is negative.
#[must_use]
pub fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Answers a question.
///
/// # Errors
/// A statement failed or a row is not what we wrote.
pub fn read(conn: &Connection, query: &Query) -> rusqlite::Result<Found> {
    match query {
        Query::Run(run_id) => one_run(conn, "run_id", run_id.as_str()),
        Query::RunByFile(file_id) => one_run(conn, "file_id", file_id),
        Query::Unfinished => {
            let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE ended_at IS NULL ORDER BY n");
            let runs = conn.prepare(&sql)?.query_map([], run_record)?.collect::<Result<_, _>>()?;
            Ok(Found::All(runs))
        }
        Query::Untold(limit) => {
            let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE untold IS NOT NULL ORDER BY n LIMIT ?1");
            let runs = conn.prepare(&sql)?.query_map([ms(*limit as u64)], run_record)?.collect::<Result<_, _>>()?;
            Ok(Found::All(runs))
        }
        Query::Runs(filter) => Ok(Found::Page(run_page(conn, filter)?)),
        Query::Session(key) => Ok(Found::Session(sql_sessions::one(conn, key)?.map(Box::new))),
        Query::Sessions(filter) => Ok(Found::Sessions(sql_sessions::page(conn, filter)?)),
        Query::CountSessions(filter) => Ok(Found::Count(sql_sessions::count(conn, filter)?)),
        Query::WasImported(source) => Ok(Found::Count(u64::from(sql_sessions::was_imported(conn, source)?))),
        Query::Approvals(filter) => Ok(Found::Approvals(super::approvals::read(conn, filter)?)),
        Query::Devices => Ok(Found::Devices(Box::new(sql_devices::all(conn)?))),
        Query::Usage(filter) => Ok(Found::Usage(super::usage::read(conn, filter)?)),
        Query::Lockouts => Ok(Found::Lockouts(super::lockouts::all(conn)?)),
        Query::Expired { ended_until, limit } => Ok(Found::Expired(expired(conn, *ended_until, *limit)?)),
    }
}

fn one_run(conn: &Connection, column: &str, id: &str) -> rusqlite::Result<Found> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE {column} = ?1");
    Ok(Found::Run(conn.query_row(&sql, [id], run_record).optional()?.map(Box::new)))
}

fn run_page(conn: &Connection, filter: &RunFilter) -> rusqlite::Result<RunPage> {
    let limit = filter.limit.clamp(1, MAX_RUNS);
    // Conditions are only written when they are asked for, so that the index that fits is used.
    let mut sql = format!("SELECT {LISTED_COLUMNS} FROM runs WHERE n < ?");
    let mut values = vec![Value::Integer(filter.before.map_or(i64::MAX, |cursor| ms(cursor.0)))];
    if let Some(session_key) = &filter.session_key {
        sql.push_str(" AND session_key = ?");
        values.push(Value::Text(session_key.0.clone()));
    }
    if let Some(principal) = &filter.principal {
        sql.push_str(" AND principal = ?");
        values.push(Value::Text(principal.clone()));
    }
    if let Some(status) = filter.status {
        sql.push_str(" AND status = ?");
        values.push(Value::Text(status.name().to_owned()));
    }
    // One row more than asked for tells whether there is a next page.
    sql.push_str(" ORDER BY n DESC LIMIT ?");
    values.push(Value::Integer(ms(limit as u64 + 1)));
    let mut statement = conn.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| Ok((row.get::<_, i64>("n")?, run_record(row)?)))?;
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(n, _)| RunCursor(unsigned(*n)));
    Ok(RunPage { runs: rows.into_iter().map(|(_, run)| run).collect(), next })
}

fn expired(conn: &Connection, ended_until: u64, limit: usize) -> rusqlite::Result<Vec<ExpiredRun>> {
    let mut statement = conn.prepare("SELECT file_id, accepted_at FROM runs WHERE ended_at <= ?1 ORDER BY ended_at LIMIT ?2")?;
    let rows = statement.query_map([ms(ended_until), ms(limit as u64)], |row| {
        Ok(ExpiredRun { file_id: row.get(0)?, journal_month: clock::month(unsigned(row.get(1)?)) })
    })?;
    rows.collect()
}

/// The record of a row with [`RUN_COLUMNS`].
///
/// # Errors
/// The row is not what we wrote.
pub fn run_record(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let outcome = match row.get::<_, Option<String>>("outcome")? {
        Some(text) => Some(serde_json::from_str::<Outcome>(&text).map_err(|error| unreadable("outcome", error.into()))?),
        None => None,
    };
    Ok(RunRecord {
        file_id: row.get("file_id")?,
        run_id: RunId(row.get("run_id")?),
        principal: row.get("principal")?,
        session_key: SessionKey(row.get("session_key")?),
        agent_id: AgentId(row.get("agent_id")?),
        runner: row.get("runner")?,
        status: status(row)?,
        title: row.get("title")?,
        spec: row.get("spec")?,
        accepted_at: unsigned(row.get("accepted_at")?),
        started_at: row.get::<_, Option<i64>>("started_at")?.map(unsigned),
        outcome,
        head: unsigned(row.get("head")?),
        queue: row.get("queue")?,
        merged_into: row.get("merged_into")?,
    })
}

/// The column `status` of a row.
pub fn status(row: &Row<'_>) -> rusqlite::Result<RunStatus> {
    let name: String = row.get("status")?;
    RunStatus::parse(&name).ok_or_else(|| unreadable("status", format!("unknown status `{name}`").into()))
}

/// A column that does not hold what we wrote.
pub fn unreadable(column: &str, cause: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("column {column}: {cause}").into())
}
