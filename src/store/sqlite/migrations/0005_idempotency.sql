-- Idempotency keys: who answers them, and the answers, for some hours.
CREATE TABLE idempotency (
    name BLOB PRIMARY KEY NOT NULL,     -- SHA-256 of API key id and idempotency key
    fingerprint BLOB NOT NULL,          -- SHA-256 of what was asked
    key_id TEXT NOT NULL,
    owner TEXT NOT NULL,                -- the process that claimed it
    token BLOB NOT NULL,                -- the claim, a ULID
    state INTEGER NOT NULL,             -- 0 running, 1 answered, 2 answered and not kept
    lease_ms INTEGER NOT NULL,
    deadline_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    head TEXT,                          -- JSON: status, request_id, length, headers
    bytes INTEGER NOT NULL DEFAULT 0,   -- length of body
    body BLOB
) STRICT;

CREATE INDEX idempotency_expires ON idempotency (expires_ms, bytes);
CREATE INDEX idempotency_running ON idempotency (owner) WHERE state = 0;
