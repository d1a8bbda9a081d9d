-- Times are seconds since 1970, UTC.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'auditor', 'admin')),
    password_hash TEXT NOT NULL,
    must_change INTEGER NOT NULL CHECK (must_change IN (0, 1)),
    totp_secret TEXT,
    totp_step INTEGER NOT NULL DEFAULT 0, -- the last one used: a code counts once
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    theme TEXT NOT NULL DEFAULT 'auto' CHECK (theme IN ('auto', 'light', 'dark')),
    created_s REAL NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
) STRICT;

-- The browser holds the id; we hold its SHA-256 only, so whoever reads this table can enter nothing.
CREATE TABLE sessions (
    id_sha256 TEXT PRIMARY KEY,
    number TEXT NOT NULL UNIQUE, -- how people name it
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    stage TEXT NOT NULL CHECK (stage IN ('password', 'enrol', 'totp', 'full')),
    enrolling TEXT, -- a TOTP secret that no code has confirmed yet
    created_s REAL NOT NULL,
    seen_s REAL NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('run', 'resume', 'replay', 'compare', 'audit')),
    request TEXT NOT NULL, -- JSON: what was asked for, checked
    title TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users (id),
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'interrupted', 'cancelled')),
    cancel_s REAL, -- when somebody asked for its end
    created_s REAL NOT NULL,
    started_s REAL,
    finished_s REAL,
    pid INTEGER,
    pid_born_s REAL,
    exit_code INTEGER,
    message TEXT NOT NULL DEFAULT '',
    run_id TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    UNIQUE (owner_id, idempotency_key)
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, seq);

CREATE TABLE workers (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    pid INTEGER NOT NULL,
    started_s REAL NOT NULL,
    heartbeat_s REAL NOT NULL
) STRICT;

-- Rows are only ever added. `hash` covers the row and `prev_hash`; `action_head` signs the last hash.
CREATE TABLE actions (
    seq INTEGER PRIMARY KEY,
    time_s REAL NOT NULL,
    user_name TEXT NOT NULL,
    role TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    request_id TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE TABLE action_head (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT NOT NULL
) STRICT;

CREATE TABLE samples (
    step_s INTEGER NOT NULL, -- 1: an hour of seconds; 10: a day of tens
    time_s INTEGER NOT NULL,
    document TEXT NOT NULL, -- JSON
    PRIMARY KEY (step_s, time_s)
) STRICT, WITHOUT ROWID;

CREATE TABLE promotions (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('proposed', 'approved', 'refused', 'replaced')),
    proposer_id TEXT NOT NULL REFERENCES users (id),
    proposed_s REAL NOT NULL,
    decider_id TEXT REFERENCES users (id) CHECK (decider_id <> proposer_id), -- separation of duties
    decided_s REAL,
    version INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE flags (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    model_sha256 TEXT NOT NULL,
    image_sha256 TEXT NOT NULL,
    predicted TEXT NOT NULL,
    actual TEXT NOT NULL,
    created_s REAL NOT NULL,
    UNIQUE (user_id, model_sha256, image_sha256)
) STRICT;
