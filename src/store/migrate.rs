//! Brings a database file to the schema of this program, by numbered steps that are never changed once released.
//!
//! The schema's version is SQLite's `user_version`; `application_id` marks the file as ours, so that a foreign database is never written to. Each step commits on its own, so a crash between two leaves a valid older schema.
//! A step must keep what older rows mean: write beside it which old data it met and add a dump of that version to `tests/vectors/store`.

use rusqlite::Connection;

/// "SKYK", in the header of every file of ours.
pub const APPLICATION_ID: i32 = 0x534b_594b;

/// The steps; step `i` leads to version `i + 1`.
pub const STEPS: &[&str] = &[V1, V2, V3, V4, V5, V6, V7, V8];

/// Runs in order of acceptance, each with the idempotency key that leads to it, and the sessions they belong to.
/// A run has ended when `ended_at` is set; its status and outcome are then final. A key that has outlived its time is set to NULL.
/// Accepting a run is what callers wait for, and its cost grows with the pages it touches: so there are few indexes, and most of them only hold what they are for.
const V1: &str = "
CREATE TABLE sessions (
  key         TEXT PRIMARY KEY,
  session_id  TEXT NOT NULL UNIQUE,
  agent_id    TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
  n           INTEGER PRIMARY KEY,
  file_id     TEXT NOT NULL UNIQUE,
  run_id      TEXT NOT NULL UNIQUE,
  principal   TEXT NOT NULL,
  method      TEXT NOT NULL,
  key         TEXT,
  digest      BLOB NOT NULL CHECK (length(digest) = 32),
  session_key TEXT NOT NULL REFERENCES sessions (key),
  agent_id    TEXT NOT NULL,
  runner      TEXT NOT NULL,
  status      TEXT NOT NULL CHECK (status IN ('accepted','queued','running','ok','error','aborted','timeout','interrupted')),
  title       TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  started_at  INTEGER,
  ended_at    INTEGER,
  outcome     TEXT,
  head        INTEGER NOT NULL DEFAULT 0,
  spec        TEXT NOT NULL,
  CHECK ((ended_at IS NULL) = (outcome IS NULL)),
  CHECK ((ended_at IS NULL) = (status IN ('accepted','queued','running')))
) STRICT;
CREATE UNIQUE INDEX runs_by_key ON runs (principal, method, key) WHERE key IS NOT NULL;
CREATE INDEX runs_of_session ON runs (session_key, n);
CREATE INDEX runs_unfinished ON runs (n) WHERE ended_at IS NULL;
CREATE INDEX runs_by_end ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_with_key_by_end ON runs (ended_at) WHERE ended_at IS NOT NULL AND key IS NOT NULL;

CREATE TABLE probe (
  one         INTEGER PRIMARY KEY CHECK (one = 1),
  times       INTEGER NOT NULL
) STRICT;
INSERT INTO probe VALUES (1, 0);
";

/// Sessions get the entry that existing clients know, what lists are made from in one index, and texts for lists.
/// A conversation may stand under two keys (a job and its run), and a session may go while its runs are kept: so both tables are made anew, without the two constraints. Old rows become sessions without any settings.
const V2: &str = "
CREATE TABLE sessions_2 (
  n           INTEGER PRIMARY KEY,
  key         TEXT NOT NULL UNIQUE,
  session_id  TEXT NOT NULL,
  agent_id    TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('direct','group','global','unknown','run')),
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL,
  label       TEXT,
  spawned_by  TEXT,
  search      TEXT NOT NULL,
  title       TEXT,
  preview     TEXT,
  entry       TEXT NOT NULL,
  extra       TEXT
) STRICT;
INSERT INTO sessions_2 (key, session_id, agent_id, kind, created_at, updated_at, search, entry)
  SELECT key, session_id, agent_id,
         CASE WHEN key IN ('global','unknown') THEN key
              WHEN key LIKE '%:cron:%:run:%' THEN 'run'
              WHEN key LIKE '%:group:%' OR key LIKE '%:channel:%' THEN 'group' ELSE 'direct' END,
         created_at, updated_at, lower(key) || char(10) || lower(session_id), '{}'
  FROM sessions ORDER BY updated_at;
DROP TABLE sessions;
ALTER TABLE sessions_2 RENAME TO sessions;
CREATE INDEX sessions_by_use ON sessions (updated_at, n, kind, agent_id, search);
CREATE INDEX sessions_by_label ON sessions (label) WHERE label IS NOT NULL;
CREATE INDEX sessions_by_spawner ON sessions (spawned_by) WHERE spawned_by IS NOT NULL;
CREATE INDEX sessions_by_id ON sessions (session_id);

CREATE TABLE runs_2 (
  n           INTEGER PRIMARY KEY,
  file_id     TEXT NOT NULL UNIQUE,
  run_id      TEXT NOT NULL UNIQUE,
  principal   TEXT NOT NULL,
  method      TEXT NOT NULL,
  key         TEXT,
  digest      BLOB NOT NULL CHECK (length(digest) = 32),
  session_key TEXT NOT NULL,
  agent_id    TEXT NOT NULL,
  runner      TEXT NOT NULL,
  status      TEXT NOT NULL CHECK (status IN ('accepted','queued','running','ok','error','aborted','timeout','interrupted')),
  title       TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  started_at  INTEGER,
  ended_at    INTEGER,
  outcome     TEXT,
  head        INTEGER NOT NULL DEFAULT 0,
  spec        TEXT NOT NULL,
  CHECK ((ended_at IS NULL) = (outcome IS NULL)),
  CHECK ((ended_at IS NULL) = (status IN ('accepted','queued','running')))
) STRICT;
INSERT INTO runs_2 SELECT * FROM runs ORDER BY n;
DROP TABLE runs;
ALTER TABLE runs_2 RENAME TO runs;
CREATE UNIQUE INDEX runs_by_key ON runs (principal, method, key) WHERE key IS NOT NULL;
CREATE INDEX runs_of_session ON runs (session_key, n);
CREATE INDEX runs_unfinished ON runs (n) WHERE ended_at IS NULL;
CREATE INDEX runs_by_end ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_with_key_by_end ON runs (ended_at) WHERE ended_at IS NOT NULL AND key IS NOT NULL;

CREATE TABLE imports (
  source      TEXT PRIMARY KEY,
  at          INTEGER NOT NULL,
  sessions    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Runs wait by rules of their own, are answered by the turn of another run, and stand in a transcript.
/// Older runs have no rules (they wait in line), carry nobody and are told: they come from a time without transcripts.
/// All columns are NULL for most runs and the indexes hold only what they are for, so that accepting a run touches no page more than before.
const V3: &str = "
ALTER TABLE runs ADD COLUMN queue TEXT;
ALTER TABLE runs ADD COLUMN merged_into TEXT;
ALTER TABLE runs ADD COLUMN untold INTEGER;
CREATE INDEX runs_untold ON runs (n) WHERE untold IS NOT NULL;
";

/// Devices with what each was granted, those that ask to be let in, and codes that let one in. Stores of earlier versions have none.
/// Of tokens and codes there is only the digest. The rows are few and are all read at the start, so there is no index beside the keys.
const V4: &str = "
CREATE TABLE devices (
  device_id    TEXT PRIMARY KEY,
  public_key   TEXT NOT NULL,
  described    TEXT NOT NULL,
  address      TEXT,
  created_at   INTEGER NOT NULL,
  approved_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE device_grants (
  device_id    TEXT NOT NULL,
  role         TEXT NOT NULL CHECK (role IN ('operator','node')),
  scopes       TEXT NOT NULL,
  digest       BLOB CHECK (digest IS NULL OR length(digest) = 32),
  claim_until  INTEGER,
  created_at   INTEGER NOT NULL,
  rotated_at   INTEGER,
  revoked_at   INTEGER,
  last_used_at INTEGER,
  PRIMARY KEY (device_id, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE pair_requests (
  request_id   TEXT PRIMARY KEY,
  device_id    TEXT NOT NULL,
  public_key   TEXT NOT NULL,
  role         TEXT NOT NULL CHECK (role IN ('operator','node')),
  scopes       TEXT NOT NULL,
  reason       TEXT NOT NULL,
  described    TEXT NOT NULL,
  address      TEXT,
  state        TEXT NOT NULL CHECK (state IN ('pending','approved','rejected','expired')),
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  resolved_at  INTEGER,
  CHECK ((resolved_at IS NULL) = (state = 'pending'))
) STRICT, WITHOUT ROWID;

CREATE TABLE setup_codes (
  digest       BLOB PRIMARY KEY CHECK (length(digest) = 32),
  role         TEXT NOT NULL CHECK (role IN ('operator','node')),
  scopes       TEXT NOT NULL,
  made_by      TEXT NOT NULL,
  device_id    TEXT,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Approvals of commands. Older stores have none: they were kept in memory, if at all.
const V5: &str = "
CREATE TABLE approvals (
  n           INTEGER PRIMARY KEY,
  id          TEXT NOT NULL UNIQUE,
  state       TEXT NOT NULL CHECK (state IN ('pending','allowed-once','allowed-always','denied','expired','cancelled','used','stale')),
  revision    INTEGER NOT NULL,
  file_id     TEXT,
  digest      BLOB NOT NULL CHECK (length(digest) = 32),
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  body        TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_of_run ON approvals (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX approvals_open ON approvals (n) WHERE state IN ('pending', 'allowed-once', 'allowed-always');
CREATE INDEX approvals_by_time ON approvals (created_at);
";

/// Addresses that guessed too often stay locked out over a restart. What is left of a lock is told by two clocks: the kernel's own while it runs, the wall clock over a reboot.
const V6: &str = "
CREATE TABLE lockouts (
  address     TEXT PRIMARY KEY,
  left_ms     INTEGER NOT NULL,
  locks       INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  boot        TEXT NOT NULL,
  boot_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What runs have used that are past retention, by quarters of an hour, of which every day of every time zone is made, and by session. Runs that were forgotten before this step are in no sum.
const V7: &str = "
CREATE TABLE usage_past (
  quarter     INTEGER NOT NULL,
  session_key TEXT NOT NULL,
  agent_id    TEXT NOT NULL,
  input_tokens       INTEGER NOT NULL,
  output_tokens      INTEGER NOT NULL,
  cache_read_tokens  INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  input_cost         REAL NOT NULL,
  output_cost        REAL NOT NULL,
  cache_read_cost    REAL NOT NULL,
  cache_write_cost   REAL NOT NULL,
  total_cost         REAL NOT NULL,
  priced             INTEGER NOT NULL,
  asked              INTEGER NOT NULL,
  runs               INTEGER NOT NULL,
  failed             INTEGER NOT NULL,
  commands           INTEGER NOT NULL,
  duration_ms        INTEGER NOT NULL,
  cpu_ms             INTEGER NOT NULL,
  output_bytes       INTEGER NOT NULL,
  first_at           INTEGER NOT NULL,
  last_at            INTEGER NOT NULL,
  PRIMARY KEY (quarter, session_key)
) STRICT, WITHOUT ROWID;
";

/// Sessions that lists leave out unless they are asked for have an index, so that the others are counted without a look at each. Rows stay as they are.
const V8: &str = "CREATE INDEX sessions_apart ON sessions (kind) WHERE kind NOT IN ('direct','group');";

/// Why a file cannot be brought to this schema.
#[derive(Debug)]
pub enum MigrateError {
    /// A later program wrote it.
    Newer {
        /// Schema version of the file.
        found: u32,
    },
    /// It holds tables, and they are not ours.
    Foreign,
    /// SQLite said so.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Reads whose file this is and of which version, without a change to it. Returns the version; 0 is an empty file.
///
/// # Errors
/// The file is of a newer version, foreign, or not readable.
pub fn inspect(conn: &Connection, steps: &[&str]) -> Result<u32, MigrateError> {
    let version: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let owner: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = version == 0 && owner == 0 && tables == 0;
    if owner != APPLICATION_ID && !empty {
        return Err(MigrateError::Foreign);
    }
    if version as usize > steps.len() {
        return Err(MigrateError::Newer { found: version });
    }
    Ok(version)
}

/// Takes the steps that the file lacks.
///
/// # Errors
/// As [`inspect`], or a step failed; earlier steps stay taken.
pub fn migrate(conn: &mut Connection, steps: &[&str]) -> Result<(), MigrateError> {
    let from = inspect(conn, steps)?;
    for (step, version) in steps.iter().zip(1_u32..).skip(from as usize) {
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_STEPS: &[&str] =
        &["CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);", "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 5;"];

    fn version(conn: &Connection) -> u32 {
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_new_file_takes_all_steps_once() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, TWO_STEPS).unwrap();
        migrate(&mut conn, TWO_STEPS).unwrap();
        assert_eq!(version(&conn), 2);
        assert_eq!(conn.query_row("SELECT x + y FROM a", [], |row| row.get::<_, i64>(0)).unwrap(), 12);
    }

    #[test]
    fn an_older_file_takes_the_missing_steps_and_keeps_its_rows() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &TWO_STEPS[..1]).unwrap();
        conn.execute("INSERT INTO a VALUES (1)", []).unwrap();
        migrate(&mut conn, TWO_STEPS).unwrap();
        assert_eq!(conn.query_row("SELECT sum(x), sum(y) FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap(), (8, 10));
    }

    #[test]
    fn a_newer_file_is_refused_unchanged() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, TWO_STEPS).unwrap();
        assert!(matches!(migrate(&mut conn, &TWO_STEPS[..1]), Err(MigrateError::Newer { found: 2 })));
        assert_eq!(version(&conn), 2);
    }

    #[test]
    fn a_foreign_file_is_refused_even_without_a_version() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(migrate(&mut conn, TWO_STEPS), Err(MigrateError::Foreign)));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut conn = Connection::open_in_memory().unwrap();
        let broken: &[&str] = &[TWO_STEPS[0], "CREATE TABLE b (x INTEGER); CREATE TABLE a (x INTEGER);"];
        assert!(migrate(&mut conn, broken).is_err());
        assert_eq!(version(&conn), 1);
        assert_eq!(conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}
