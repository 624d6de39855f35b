-- A store as schema version 8 leaves it: as version 7, with an index of the sessions that lists leave out.
CREATE TABLE probe (
  one         INTEGER PRIMARY KEY CHECK (one = 1),
  times       INTEGER NOT NULL
) STRICT;
CREATE TABLE "sessions" (
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
CREATE INDEX sessions_by_use ON sessions (updated_at, n, kind, agent_id, search);
CREATE INDEX sessions_by_label ON sessions (label) WHERE label IS NOT NULL;
CREATE INDEX sessions_by_spawner ON sessions (spawned_by) WHERE spawned_by IS NOT NULL;
CREATE INDEX sessions_by_id ON sessions (session_id);
CREATE INDEX sessions_apart ON sessions (kind) WHERE kind NOT IN ('direct','group');
CREATE TABLE "runs" (
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
  spec        TEXT NOT NULL, queue TEXT, merged_into TEXT, untold INTEGER,
  CHECK ((ended_at IS NULL) = (outcome IS NULL)),
  CHECK ((ended_at IS NULL) = (status IN ('accepted','queued','running')))
) STRICT;
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
CREATE INDEX runs_untold ON runs (n) WHERE untold IS NOT NULL;
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
CREATE TABLE lockouts (
  address     TEXT PRIMARY KEY,
  left_ms     INTEGER NOT NULL,
  locks       INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  boot        TEXT NOT NULL,
  boot_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
INSERT INTO probe VALUES (1, 0);

INSERT INTO sessions VALUES (1, 'agent:main:main', '0b9a5a52-6d0e-4a5c-9a07-1b8a0f0a7c11', 'main', 'direct', 1795132800000, 1795132803000, NULL, NULL,
  'agent:main:main' || char(10) || '0b9a5a52-6d0e-4a5c-9a07-1b8a0f0a7c11', 'exit 3', 'exit code 3', '{}', NULL);
INSERT INTO sessions VALUES (2, 'agent:main:work', '5c1f2c62-0f0d-4f7b-8f5c-0d9a4d5b6e22', 'main', 'direct', 1795132700000, 1795132704000, 'Work', 'agent:main:main',
  'agent:main:work' || char(10) || '5c1f2c62-0f0d-4f7b-8f5c-0d9a4d5b6e22' || char(10) || 'work', NULL, NULL,
  '{"sessionId":"5c1f2c62-0f0d-4f7b-8f5c-0d9a4d5b6e22","updatedAt":1795132704000,"label":"Work","spawnedBy":"agent:main:main","thinkingLevel":"high","queueCap":7,"inputTokens":12}',
  '{"skillsSnapshot":{"a":1},"unheardOf":[1]}');
INSERT INTO imports VALUES ('/home/ubuntu/.skykoi/agents/main/sessions/sessions.json', 1795132600000, 1);
INSERT INTO runs VALUES (1, '019a0000000070008000000000000001', 'done', 'token', 'agent', 'done', zeroblob(32), 'agent:main:main', 'main', 'shell',
  'error', 'exit 3', 1795132800000, 1795132801000, 1795132803000,
  '{"status":"error","summary":"exit code 3","exitCode":3,"startedAt":1795132801000,"endedAt":1795132803000,"durationMs":2000,"stdoutBytes":0,"stderrBytes":0,"droppedBytes":0,"truncated":false,"cpuMs":1,"peakRssBytes":1000000}',
  4, '{"message":"exit 3","cwd":"/","shell":"/bin/sh","timeoutMs":600000}', NULL, NULL, NULL);
INSERT INTO runs VALUES (2, '019a0000000070008000000000000002', 'untold', 'token', 'agent', NULL, zeroblob(32), 'agent:main:main', 'main', 'shell',
  'error', 'exit 3', 1795132801000, 1795132801000, 1795132804000,
  '{"status":"error","summary":"exit code 3","exitCode":3,"startedAt":1795132801000,"endedAt":1795132804000,"durationMs":2000,"stdoutBytes":0,"stderrBytes":0,"droppedBytes":0,"truncated":false,"cpuMs":1,"peakRssBytes":1000000}',
  4, '{"message":"exit 3","cwd":"/","shell":"/bin/sh","timeoutMs":600000}', NULL, NULL, 1);
INSERT INTO runs VALUES (3, '019a0000000070008000000000000003', 'merged', 'token', 'agent', 'merged', zeroblob(32), 'agent:main:main', 'main', 'shell',
  'running', 'echo b', 1795132802000, NULL, NULL,
  NULL,
  0, '{"message":"echo b","cwd":"/","shell":"/bin/sh","timeoutMs":600000}', '{"mode":"followup","debounce_ms":5,"cap":3,"drop":"new"}', '019a0000000070008000000000000004', NULL);
INSERT INTO runs VALUES (4, '019a0000000070008000000000000004', 'carrier', 'token', 'agent', 'carrier', zeroblob(32), 'agent:main:main', 'main', 'shell',
  'running', 'echo c', 1795132803000, 1795132803500, NULL,
  NULL,
  0, '{"message":"echo b\necho c","cwd":"/","shell":"/bin/sh","timeoutMs":600000}', '{"mode":"followup","debounce_ms":5,"cap":3,"drop":"new"}', NULL, NULL);
INSERT INTO runs VALUES (5, '019a0000000070008000000000000005', 'waits', 'token', 'agent', 'waits', zeroblob(32), 'agent:main:main', 'main', 'shell',
  'queued', 'sleep 9', 1795132804000, NULL, NULL,
  NULL,
  0, '{"message":"sleep 9","cwd":"/","shell":"/bin/sh","timeoutMs":600000}', '{"mode":"followup","debounce_ms":5,"cap":3,"drop":"new"}', NULL, NULL);
INSERT INTO devices VALUES ('aa11', 'a2V5LW9mLWFhMTE', '{"displayName":"Phone","platform":"ios","clientId":"SKYKOI-ios"}', '203.0.113.7', 1795132800000, 1795132801000);
INSERT INTO device_grants VALUES ('aa11', 'operator', 'operator.read operator.write', zeroblob(32), NULL, 1795132801000, 1795132802000, NULL, 1795132860000);
INSERT INTO device_grants VALUES ('aa11', 'node', '', NULL, NULL, 1795132801000, NULL, 1795132803000, NULL);
INSERT INTO pair_requests VALUES ('req-1', 'bb22', 'a2V5LW9mLWJiMjI', 'operator', 'operator.read', 'not-paired', '{}', NULL, 'pending', 1795132800000, 1795133100000, NULL);
INSERT INTO pair_requests VALUES ('req-2', 'aa11', 'a2V5LW9mLWFhMTE', 'operator', 'operator.write', 'scope-upgrade', '{}', '203.0.113.7', 'rejected', 1795132800001, 1795133100001, 1795132800005);
INSERT INTO setup_codes VALUES (zeroblob(32), 'operator', 'operator.read', 'local', 'aa11', 1795132800000, 1795133400000);
INSERT INTO approvals VALUES (1, '0123456789abcdef0123456789abcdef', 'pending', 1, '019a0000000070008000000000000005', zeroblob(32), 1795132800000, 1795133400000,
  '{"subject":{"mode":"full","command":"sleep 9"},"prompt":"sleep 9","request":{"command":"sleep 9","cwd":"/","host":"gateway","security":"full","ask":"always","agentId":"main","resolvedPath":null,"sessionKey":"agent:main:main"},"allowed":["allow-once","deny"],"runId":"waits","requester":{"principal":"token"},"needed":1,"votes":[]}');
INSERT INTO approvals VALUES (2, 'fedcba9876543210fedcba9876543210', 'denied', 2, NULL, zeroblob(32), 1795132800001, 1795133400001,
  '{"subject":{"mode":"full","command":"sleep 9"},"prompt":"sleep 9","request":{"command":"sleep 9","cwd":"/","host":"gateway","security":"full","ask":"always","agentId":"main","resolvedPath":null,"sessionKey":"agent:main:main"},"allowed":["allow-once","deny"],"runId":"waits","requester":{"principal":"token"},"needed":1,"votes":[]}');
INSERT INTO lockouts VALUES ('203.0.113.9', 120000, 3, 1795132800000, '6f1d8b8e-0b52-4f0e-9a3b-2f6f4b3c1d11', 55000);
INSERT INTO usage_past VALUES (1795132800000, 'agent:main:main', 'main', 100, 10, 0, 0, 0.5, 0.25, 0, 0, 0.75, 1, 1, 2, 1, 0, 500, 40, 7, 1795132800100, 1795132900000);
PRAGMA application_id = 1397446987;
PRAGMA user_version = 8;
