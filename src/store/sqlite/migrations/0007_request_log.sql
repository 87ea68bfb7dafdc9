-- Bodies of calls, for projects that want them stored: masked, cut, for some days.
ALTER TABLE groups ADD COLUMN request_log TEXT NOT NULL DEFAULT 'off';

CREATE TABLE request_log (
    call_id BLOB PRIMARY KEY NOT NULL,   -- of the ledger, or one of its own for a call that made no attempt
    request_id TEXT NOT NULL,
    time_ms INTEGER NOT NULL,            -- when the call began
    key_id TEXT NOT NULL,
    project TEXT,
    status INTEGER NOT NULL,             -- what the client was sent
    outcome TEXT NOT NULL,
    error TEXT,
    stream INTEGER NOT NULL,
    bytes INTEGER NOT NULL,              -- of both bodies
    request TEXT,                        -- NULL: not kept
    request_truncated INTEGER NOT NULL,
    request_redacted INTEGER NOT NULL,   -- parts that were masked
    response TEXT,
    response_truncated INTEGER NOT NULL,
    response_redacted INTEGER NOT NULL
) STRICT;

CREATE INDEX request_log_by_request_id ON request_log (request_id);
CREATE INDEX request_log_by_time ON request_log (time_ms, call_id, bytes);
