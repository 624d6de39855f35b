-- A store as schema version 1 leaves it: one finished run with its key, one that runs.
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

INSERT INTO sessions VALUES ('agent:main:main', '0b9a5a52-6d0e-4a5c-9a07-1b8a0f0a7c11', 'main', 1795132800000, 1795132803000);
INSERT INTO runs VALUES (1, '019a0000000070008000000000000001', 'done', 'token', 'agent', 'done', zeroblob(32), 'agent:main:main', 'main', 'shell',
  'error', 'exit 3', 1795132800000, 1795132801000, 1795132803000,
  '{"status":"error","summary":"exit code 3","exitCode":3,"startedAt":1795132801000,"endedAt":1795132803000,"durationMs":2000,"stdoutBytes":0,"stderrBytes":0,"droppedBytes":0,"truncated":false,"cpuMs":1,"peakRssBytes":1000000}',
  4, '{"message":"exit 3"}');
INSERT INTO runs VALUES (2, '019a0000000070008000000000000002', 'alive', 'token', 'agent', NULL, zeroblob(32), 'agent:main:main', 'main', 'shell',
  'running', 'sleep 9', 1795132802000, 1795132802500, NULL, NULL, 0, '{"message":"sleep 9"}');
PRAGMA application_id = 1397446987;
PRAGMA user_version = 1;
