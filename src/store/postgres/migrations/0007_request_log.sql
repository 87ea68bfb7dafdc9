-- Bodies of calls, for projects that want them stored: masked, cut, for some days.
ALTER TABLE groups ADD COLUMN request_log text NOT NULL DEFAULT 'off';

CREATE TABLE request_log (
    call_id bytea PRIMARY KEY NOT NULL,   -- of the ledger, or one of its own for a call that made no attempt
    request_id text COLLATE "C" NOT NULL,
    time_ms bigint NOT NULL,             -- when the call began
    key_id text NOT NULL,
    project text,
    status bigint NOT NULL,              -- what the client was sent
    outcome text NOT NULL,
    error text,
    stream boolean NOT NULL,
    bytes bigint NOT NULL,               -- of both bodies
    request text,                        -- NULL: not kept
    request_truncated boolean NOT NULL,
    request_redacted bigint NOT NULL,    -- parts that were masked
    response text,
    response_truncated boolean NOT NULL,
    response_redacted bigint NOT NULL
);

CREATE INDEX request_log_by_request_id ON request_log (request_id);
CREATE INDEX request_log_by_time ON request_log (time_ms, call_id, bytes);
