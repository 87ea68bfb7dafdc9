-- Money is in units of 1e-12 USD, times in milliseconds since the Unix epoch. Lists are JSON arrays of strings.

-- One row: the number of the latest change of any key.
CREATE TABLE revision (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    latest INTEGER NOT NULL
) STRICT;
INSERT INTO revision VALUES (1, 0);

CREATE TABLE projects (
    name        TEXT PRIMARY KEY,
    created_ms  INTEGER NOT NULL,
    -- Room for the limits one level up; nothing reads them yet, so nothing writes them.
    rpm         INTEGER,
    tpm         INTEGER,
    concurrency INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE,
    prefix       TEXT NOT NULL,
    name         TEXT NOT NULL,
    project      TEXT REFERENCES projects (name),
    expires_ms   INTEGER,
    models_allow TEXT NOT NULL,
    models_deny  TEXT NOT NULL,
    rpm          INTEGER CHECK (rpm BETWEEN 1 AND 4294967295),
    tpm          INTEGER CHECK (tpm BETWEEN 1 AND 4294967295),
    concurrency  INTEGER CHECK (concurrency BETWEEN 1 AND 4294967295),
    tags         TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    revoked_ms   INTEGER,
    revision     INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- One row per attempt that reached an upstream. Token counts are NULL when unknown, cost when unpriced.
CREATE TABLE ledger (
    call_id               BLOB NOT NULL,
    attempt               INTEGER NOT NULL,
    request_id            TEXT NOT NULL,
    time_ms               INTEGER NOT NULL,
    key_id                TEXT NOT NULL,
    project               TEXT,
    requested_model       TEXT NOT NULL,
    provider              TEXT NOT NULL,
    model                 TEXT NOT NULL,
    upstream_model        TEXT NOT NULL,
    status                INTEGER NOT NULL,
    outcome               TEXT NOT NULL,
    error                 TEXT,
    stream                INTEGER NOT NULL,
    ttft_ms               INTEGER,
    duration_ms           INTEGER NOT NULL,
    prompt_tokens         INTEGER,
    cached_tokens         INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    completion_tokens     INTEGER,
    reasoning_tokens      INTEGER,
    audio_input_tokens    INTEGER,
    audio_output_tokens   INTEGER,
    image_input_tokens    INTEGER,
    image_output_tokens   INTEGER,
    web_searches          INTEGER,
    estimated             INTEGER NOT NULL,
    cost                  INTEGER,
    service_tier          TEXT,
    tags                  TEXT NOT NULL,
    PRIMARY KEY (call_id, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_by_time ON ledger (time_ms, call_id, attempt);
CREATE INDEX ledger_by_key ON ledger (key_id, time_ms, call_id, attempt);
CREATE INDEX ledger_by_request_id ON ledger (request_id);

-- Sums of ledger rows by hour. The cost is cost_high * 2^32 + cost_low, so that no sum can leave 64 bits.
CREATE TABLE usage_hourly (
    hour              INTEGER NOT NULL,
    key_id            TEXT NOT NULL,
    project           TEXT NOT NULL, -- '' for none: NULLs would not be unique
    provider          TEXT NOT NULL,
    model             TEXT NOT NULL,
    requests          INTEGER NOT NULL,
    errors            INTEGER NOT NULL,
    unpriced          INTEGER NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens  INTEGER NOT NULL,
    cost_high         INTEGER NOT NULL,
    cost_low          INTEGER NOT NULL,
    PRIMARY KEY (hour, key_id, project, provider, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    object  TEXT NOT NULL,
    before  TEXT,
    after   TEXT
) STRICT;
