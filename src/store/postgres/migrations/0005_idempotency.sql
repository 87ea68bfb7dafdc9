-- Idempotency keys: who answers them, and the answers, for some hours.
CREATE TABLE idempotency (
    name bytea PRIMARY KEY NOT NULL,     -- SHA-256 of API key id and idempotency key
    fingerprint bytea NOT NULL,          -- SHA-256 of what was asked
    key_id text NOT NULL,
    owner text COLLATE "C" NOT NULL,                -- the process that claimed it
    token bytea NOT NULL,                -- the claim, a ULID
    state bigint NOT NULL,             -- 0 running, 1 answered, 2 answered and not kept
    lease_ms bigint NOT NULL,
    deadline_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    head text,                          -- JSON: status, request_id, length, headers
    bytes bigint NOT NULL DEFAULT 0,   -- length of body
    body bytea
);

CREATE INDEX idempotency_expires ON idempotency (expires_ms, bytes);
CREATE INDEX idempotency_running ON idempotency (owner) WHERE state = 0;
