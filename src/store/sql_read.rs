//! The questions as SQL, and how a row becomes a record.

use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::op::{Found, Query};
use super::record::{ExpiredRun, LastRun, RunCursor, RunFilter, RunPage, RunRecord, SessionFilter, SessionRow};
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
const MAX_SESSIONS: usize = 1000;

/// A count or a time as SQLite stores it; times beyond the year 292 million read as the last one.
#[must_use]
pub fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
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
        Query::Sessions(filter) => Ok(Found::Sessions(sessions(conn, filter)?)),
        Query::CountSessions(filter) => Ok(Found::Count(count_sessions(conn, filter)?)),
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

/// Conditions of a session filter; ?1 to ?3 are what [`session_values`] gives.
const SESSION_CONDITIONS: &str = "updated_at >= ?1 AND (?2 IS NULL OR agent_id = ?2)
    AND (?3 IS NULL OR instr(lower(key), lower(?3)) > 0 OR instr(lower(session_id), lower(?3)) > 0)";

fn session_values(filter: &SessionFilter) -> Vec<Value> {
    let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
    vec![
        Value::Integer(ms(filter.active_since.unwrap_or(0))),
        text(filter.agent_id.as_ref().map(AgentId::as_str)),
        text(filter.search.as_deref()),
    ]
}

fn sessions(conn: &Connection, filter: &SessionFilter) -> rusqlite::Result<Vec<SessionRow>> {
    let sql = format!(
        "SELECT s.key, s.session_id, s.agent_id, s.created_at, s.updated_at,
                (SELECT count(*) FROM runs WHERE session_key = s.key) AS run_count, last.run_id, last.status
         FROM (SELECT * FROM sessions WHERE {SESSION_CONDITIONS} ORDER BY updated_at DESC, key LIMIT ?4) AS s
         LEFT JOIN runs AS last ON last.n = (SELECT max(n) FROM runs WHERE session_key = s.key)
         ORDER BY s.updated_at DESC, s.key"
    );
    let mut values = session_values(filter);
    values.push(Value::Integer(ms(filter.limit.clamp(1, MAX_SESSIONS) as u64)));
    conn.prepare(&sql)?.query_map(params_from_iter(values), session_row)?.collect()
}

fn count_sessions(conn: &Connection, filter: &SessionFilter) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM sessions WHERE {SESSION_CONDITIONS}");
    conn.query_row(&sql, params_from_iter(session_values(filter)), |row| row.get(0)).map(unsigned)
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    let last_run = match row.get::<_, Option<String>>("run_id")? {
        Some(run_id) => Some(LastRun { run_id: RunId(run_id), status: status(row)? }),
        None => None,
    };
    Ok(SessionRow {
        key: SessionKey(row.get("key")?),
        session_id: row.get("session_id")?,
        agent_id: AgentId(row.get("agent_id")?),
        created_at: unsigned(row.get("created_at")?),
        updated_at: unsigned(row.get("updated_at")?),
        run_count: unsigned(row.get("run_count")?),
        last_run,
    })
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

fn status(row: &Row<'_>) -> rusqlite::Result<RunStatus> {
    let name: String = row.get("status")?;
    RunStatus::parse(&name).ok_or_else(|| unreadable("status", format!("unknown status `{name}`").into()))
}

fn unreadable(column: &str, cause: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("column {column}: {cause}").into())
}
