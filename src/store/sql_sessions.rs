//! Sessions as SQL: their page, one of them, and what a change writes.

use memchr::memmem::Finder;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::error::StoreError;
use super::op::Applied;
use super::sessions::{
    Change, Edited, Import, LastRun, Listed, Looks, MAX_SESSIONS, SessionCursor, SessionEdit, SessionFilter, SessionPage, SessionRecord,
};
use super::sql_read::{ms, status, unreadable, unsigned};
use super::sql_write::{Failure, execute, exists};
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::session::SessionKind;
use crate::protocol::session::entry::SessionEntry;

/// What [`record`] reads, by place: looking columns up by name takes as long as reading them.
const COLUMNS: &str = "key, session_id, agent_id, created_at, updated_at, title, preview, entry";
/// Kinds that every list shows.
const SHOWN: &str = "'direct','group'";

/// Teaches a connection `holds(text, part)`: whether `part` is in `text`, byte for byte. SQLite's own `instr` takes several times as long, and a search asks it of every session.
///
/// # Errors
/// SQLite refuses.
pub fn teach(conn: &Connection) -> rusqlite::Result<()> {
    conn.create_scalar_function("holds", 2, FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC, |asked| {
        let part = asked.get_or_create_aux(1, |part| part.as_bytes().map(|part| Finder::new(part).into_owned()))?;
        Ok(part.find(asked.get_raw(0).as_bytes()?).is_some())
    })
}

/// The session of this key.
///
/// # Errors
/// A statement failed or the row is not what we wrote.
pub fn one(conn: &Connection, key: &SessionKey) -> rusqlite::Result<Option<SessionRecord>> {
    let sql = format!("SELECT {COLUMNS}, extra FROM sessions WHERE key = ?1");
    let read = |row: &Row<'_>| Ok(SessionRecord { extra: row.get("extra")?, ..record(row)? });
    conn.prepare_cached(&sql)?.query_row([key.as_str()], read).optional()
}

/// How many sessions the filter lets through, whatever its limit.
///
/// # Errors
/// A statement failed.
pub fn count(conn: &Connection, filter: &SessionFilter) -> rusqlite::Result<u64> {
    if filter.is_of_kinds_alone() {
        // All rows are counted without a look at any; those of other kinds are few and have an index of their own.
        let kinds = kinds(filter);
        let sql = format!(
            "SELECT (SELECT count(*) FROM sessions) - (SELECT count(*) FROM sessions WHERE kind NOT IN ({SHOWN}) AND kind NOT IN ({kinds}))"
        );
        return conn.prepare_cached(&sql)?.query_row([], |row| row.get(0)).map(unsigned);
    }
    let (conditions, values) = conditions(filter);
    let sql = format!("SELECT count(*) FROM sessions WHERE {conditions}");
    conn.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0)).map(unsigned)
}

/// A page of sessions.
///
/// The places of its rows are read from the index alone, and only its rows from the table. A search reads the whole index once, which gives the total as well; without one, counting is cheaper.
///
/// # Errors
/// A statement failed or a row is not what we wrote.
pub fn page(conn: &Connection, filter: &SessionFilter) -> rusqlite::Result<SessionPage> {
    let limit = filter.limit.clamp(1, MAX_SESSIONS);
    let Places { found, total, skipped, more } = if filter.search.is_some() {
        searched(places(conn, filter, i64::MAX, 0)?, filter, limit)
    } else {
        let total = usize::try_from(count(conn, filter)?).unwrap_or(usize::MAX);
        // One place more than asked for tells whether there is a next page.
        let mut found = places(conn, filter, ms(limit as u64 + 1), ms(filter.offset as u64))?;
        let more = found.len() > limit;
        found.truncate(limit);
        Places { found, total, skipped: filter.offset.min(total), more }
    };
    let next = found.last().filter(|_| more).map(|(at, n)| SessionCursor { updated_at: unsigned(*at), n: unsigned(*n) });
    Ok(SessionPage { rows: rows(conn, &found)?, total, skipped, next })
}

/// The rows at these places.
fn rows(conn: &Connection, places: &[(i64, i64)]) -> rusqlite::Result<Vec<Listed>> {
    let mut session = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE n = ?1"))?;
    let mut runs = conn.prepare_cached("SELECT count(*), max(n) FROM runs WHERE session_key = ?1")?;
    let mut run = conn.prepare_cached("SELECT run_id, status FROM runs WHERE n = ?1")?;
    let mut row = |n: i64| {
        let session = session.query_row([n], record)?;
        let (run_count, last): (i64, Option<i64>) = runs.query_row([session.key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let read = |row: &Row<'_>| Ok(LastRun { run_id: RunId(row.get(0)?), status: status(row)? });
        let last_run = last.map(|n| run.query_row([n], read)).transpose()?;
        Ok(Listed { session, run_count: unsigned(run_count), last_run })
    };
    places.iter().map(|(_, n)| row(*n)).collect()
}

/// Where the rows of a page are.
struct Places {
    /// Last activity and number of each.
    found: Vec<(i64, i64)>,
    /// How many rows there are on all pages.
    total: usize,
    /// How many of them come before, as far as known.
    skipped: usize,
    /// Whether some come behind.
    more: bool,
}

/// The page among all places that match.
fn searched(all: Vec<(i64, i64)>, filter: &SessionFilter, limit: usize) -> Places {
    let begin = filter.after.map_or(0, |after| all.partition_point(|place| *place >= (ms(after.updated_at), ms(after.n))));
    let begin = begin.saturating_add(filter.offset).min(all.len());
    let found: Vec<_> = all.iter().skip(begin).take(limit).copied().collect();
    Places { more: begin + found.len() < all.len(), found, total: all.len(), skipped: begin }
}

/// The places of the rows that match, in the order of lists. A search is given all of them, so that it need not look twice.
fn places(conn: &Connection, filter: &SessionFilter, limit: i64, offset: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    let (mut conditions, mut values) = conditions(filter);
    if let (Some(after), None) = (filter.after, &filter.search) {
        conditions.push_str(" AND (updated_at, n) < (?, ?)");
        values.extend([Value::Integer(ms(after.updated_at)), Value::Integer(ms(after.n))]);
    }
    values.extend([Value::Integer(limit), Value::Integer(offset)]);
    let sql = format!("SELECT updated_at, n FROM sessions WHERE {conditions} ORDER BY updated_at DESC, n DESC LIMIT ? OFFSET ?");
    let mut statement = conn.prepare_cached(&sql)?;
    statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The conditions of a filter, written only as far as they are asked for, so that the index that fits is used.
fn conditions(filter: &SessionFilter) -> (String, Vec<Value>) {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut sql = "updated_at >= ?".to_owned();
    let mut values = vec![Value::Integer(ms(filter.active_since.unwrap_or(0)))];
    if let Some(since) = filter.idle_since {
        sql.push_str(" AND updated_at <= ?");
        values.push(Value::Integer(ms(since)));
    }
    if filter.spawned {
        sql.push_str(" AND spawned_by IS NOT NULL");
    }
    if let Some(search) = &filter.search {
        // Before the others: it lets through the fewest.
        sql.push_str(" AND holds(search, ?)");
        values.push(Value::Text(search.to_lowercase()));
    }
    match &filter.key {
        None => sql.push_str(&format!(" AND +kind IN ({})", kinds(filter))),
        Some(key) => {
            sql.push_str(" AND key = ?");
            values.push(text(key.as_str()));
        }
    }
    if !filter.agents.is_empty() {
        let places = vec!["?"; filter.agents.len()].join(",");
        sql.push_str(&format!(" AND agent_id IN ({places})"));
        values.extend(filter.agents.iter().map(|agent| text(agent.as_str())));
    }
    for (column, wanted) in [("label", &filter.label), ("spawned_by", &filter.spawned_by), ("session_id", &filter.session_id)] {
        if let Some(wanted) = wanted {
            sql.push_str(&format!(" AND {column} = ?"));
            values.push(text(wanted));
        }
    }
    (sql, values)
}

/// The kinds that a filter lets through, as SQL.
fn kinds(filter: &SessionFilter) -> String {
    let mut kinds = SHOWN.to_owned();
    for (wanted, kind) in [(filter.global, SessionKind::Global), (filter.unknown, SessionKind::Unknown)] {
        if wanted {
            kinds.push_str(&format!(",'{}'", kind.name()));
        }
    }
    kinds
}

/// The session of a row that begins with [`COLUMNS`].
fn record(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    let text = row.get_ref(7)?.as_str()?;
    let mut entry: SessionEntry = serde_json::from_str(text).map_err(|error| unreadable("entry", error.into()))?;
    entry.session_id = row.get(1)?;
    entry.updated_at = unsigned(row.get(4)?);
    Ok(SessionRecord {
        key: SessionKey(row.get(0)?),
        agent_id: AgentId(row.get(2)?),
        created_at: unsigned(row.get(3)?),
        entry,
        extra: None,
        title: row.get(5)?,
        preview: row.get(6)?,
    })
}

/// Applies a change to one session.
///
/// # Errors
/// It is refused, or a statement failed.
pub fn edit(conn: &Connection, key: &SessionKey, edit: &SessionEdit) -> Result<Applied, Failure> {
    let before = one(conn, key)?;
    let refused = |text| Failure::Refused(StoreError::Refused(text));
    let edited = edit.apply(before.as_ref()).map_err(refused)?;
    let after = match edited {
        Edited::Same => before.clone(),
        Edited::Gone => {
            execute(conn, "DELETE FROM sessions WHERE key = ?1", [key.as_str()])?;
            None
        }
        Edited::Put(row) => {
            let label = row.entry.label.as_deref();
            let named_anew = label != before.as_ref().and_then(|before| before.entry.label.as_deref());
            if let Some(label) = label.filter(|_| named_anew)
                && exists(conn, "SELECT EXISTS (SELECT 1 FROM sessions WHERE label = ?1 AND key <> ?2)", [label, key.as_str()])?
            {
                return Err(refused(format!("label already in use: {label}")));
            }
            put(conn, &row)?;
            // As it is on the disk now: the time of its making stays.
            let created_at = before.as_ref().map_or(row.created_at, |before| before.created_at);
            Some(SessionRecord { created_at, ..*row })
        }
    };
    Ok(Applied::Changed(Box::new(Change { before: before.map(Box::new), after: after.map(Box::new) })))
}

/// Writes a row, new or in place of the old one.
pub fn put(conn: &Connection, row: &SessionRecord) -> Result<(), Failure> {
    let entry = serde_json::to_string(&row.entry).map_err(|error| Failure::Refused(StoreError::Refused(error.to_string())))?;
    execute(
        conn,
        "INSERT INTO sessions (key, session_id, agent_id, kind, created_at, updated_at, label, spawned_by, search, title, preview, entry, extra)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT (key) DO UPDATE SET session_id = ?2, agent_id = ?3, kind = ?4, updated_at = ?6, label = ?7, spawned_by = ?8,
           search = ?9, title = ?10, preview = ?11, entry = ?12, extra = ?13",
        params![
            row.key.as_str(),
            row.entry.session_id,
            row.agent_id.as_str(),
            row.kind().name(),
            ms(row.created_at),
            ms(row.entry.updated_at),
            row.entry.label,
            row.entry.spawned_by,
            row.entry.search_text(row.key.as_str()),
            row.title,
            row.preview,
            entry,
            row.extra,
        ],
    )?;
    Ok(())
}

/// Makes the session of a run, if it is not there. One that is there is left as it is: its use is noted when the turn begins.
pub fn ensure(conn: &Connection, key: &SessionKey, agent: &AgentId, session_id: &str, now: u64) -> rusqlite::Result<()> {
    execute(
        conn,
        "INSERT INTO sessions (key, session_id, agent_id, kind, created_at, updated_at, search, entry)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, '{}') ON CONFLICT (key) DO NOTHING",
        params![
            key.as_str(),
            session_id,
            agent.as_str(),
            SessionKind::of(key.as_str(), None).name(),
            ms(now),
            format!("{}\n{}", key.as_str().to_lowercase(), session_id.to_lowercase()),
        ],
    )?;
    Ok(())
}

/// Keeps what a transcript looks like in lists, unless the session has another one by now.
pub fn note_looks(conn: &Connection, looks: &Looks) -> Result<Applied, Failure> {
    execute(
        conn,
        "UPDATE sessions SET title = ?3, preview = ?4 WHERE key = ?1 AND session_id = ?2",
        params![looks.key.as_str(), looks.session_id, looks.title, looks.preview],
    )?;
    Ok(Applied::Done)
}

/// Takes rows of another store. Returns how many were taken.
pub fn import(conn: &Connection, import: &Import) -> Result<Applied, Failure> {
    let mut taken = 0;
    for row in &import.rows {
        let newer = "SELECT EXISTS (SELECT 1 FROM sessions WHERE key = ?1 AND updated_at >= ?2)";
        if exists(conn, newer, params![row.key.as_str(), ms(row.entry.updated_at)])? {
            continue;
        }
        let mut row = row.clone();
        let taken_label = "SELECT EXISTS (SELECT 1 FROM sessions WHERE label = ?1 AND key <> ?2)";
        if let Some(label) = &row.entry.label
            && exists(conn, taken_label, [label.as_str(), row.key.as_str()])?
        {
            // Two sessions of one name cannot be told apart by it; the first one keeps it.
            row.entry.display_name.get_or_insert_with(|| label.clone());
            row.entry.label = None;
        }
        put(conn, &row)?;
        taken += 1;
    }
    execute(
        conn,
        "INSERT INTO imports (source, at, sessions) VALUES (?1, ?2, ?3) ON CONFLICT (source) DO UPDATE SET at = ?2, sessions = ?3",
        params![import.source, ms(import.now), ms(taken as u64)],
    )?;
    Ok(Applied::Count(taken))
}

/// Whether rows of this file were taken before.
pub fn was_imported(conn: &Connection, source: &str) -> rusqlite::Result<bool> {
    exists(conn, "SELECT EXISTS (SELECT 1 FROM imports WHERE source = ?1)", [source])
}
