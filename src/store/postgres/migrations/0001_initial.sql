-- Money is in units of 1e-12 USD, times in milliseconds since the Unix epoch. Lists are JSON arrays of strings. Texts
-- compare by their bytes: the order of a list does not depend on the language of the server.

-- One row: the number of the latest change of any key. Whoever changes a key locks it first.
CREATE TABLE revision (
    one    bigint PRIMARY KEY CHECK (one = 1),
    latest bigint NOT NULL
);
INSERT INTO revision VALUES (1, 0);

CREATE TABLE projects (
    name        text COLLATE "C" PRIMARY KEY,
    created_ms  bigint NOT NULL,
    -- Room for the limits one level up; nothing reads them yet, so nothing writes them.
    rpm         bigint,
    tpm         bigint,
    concurrency bigint
);

CREATE TABLE keys (
    id           text COLLATE "C" PRIMARY KEY,
    digest       bytea NOT NULL UNIQUE,
    prefix       text NOT NULL,
    name         text NOT NULL,
    project      text COLLATE "C" REFERENCES projects (name),
    expires_ms   bigint,
    models_allow text NOT NULL,
    models_deny  text NOT NULL,
    rpm          bigint CHECK (rpm BETWEEN 1 AND 4294967295),
    tpm          bigint CHECK (tpm BETWEEN 1 AND 4294967295),
    concurrency  bigint CHECK (concurrency BETWEEN 1 AND 4294967295),
    tags         text NOT NULL,
    created_ms   bigint NOT NULL,
    revoked_ms   bigint,
    revision     bigint NOT NULL UNIQUE
);

-- One row per attempt that reached an upstream. Token counts are NULL when unknown, cost when unpriced.
CREATE TABLE ledger (
    call_id               bytea NOT NULL,
    attempt               bigint NOT NULL,
    request_id            text COLLATE "C" NOT NULL,
    time_ms               bigint NOT NULL,
    key_id                text COLLATE "C" NOT NULL,
    project               text COLLATE "C",
    requested_model       text COLLATE "C" NOT NULL,
    provider              text COLLATE "C" NOT NULL,
    model                 text COLLATE "C" NOT NULL,
    upstream_model        text COLLATE "C" NOT NULL,
    status                bigint NOT NULL,
    outcome               text COLLATE "C" NOT NULL,
    error                 text,
    stream                boolean NOT NULL,
    ttft_ms               bigint,
    duration_ms           bigint NOT NULL,
    prompt_tokens         bigint,
    cached_tokens         bigint,
    cache_write_5m_tokens bigint,
    cache_write_1h_tokens bigint,
    completion_tokens     bigint,
    reasoning_tokens      bigint,
    audio_input_tokens    bigint,
    audio_output_tokens   bigint,
    image_input_tokens    bigint,
    image_output_tokens   bigint,
    web_searches          bigint,
    estimated             boolean NOT NULL,
    cost                  bigint,
    service_tier          text,
    tags                  text COLLATE "C" NOT NULL,
    PRIMARY KEY (call_id, attempt)
);
CREATE INDEX ledger_by_time ON ledger (time_ms, call_id, attempt);
CREATE INDEX ledger_by_key ON ledger (key_id, time_ms, call_id, attempt);
CREATE INDEX ledger_by_request_id ON ledger (request_id);

-- Sums of ledger rows by hour. The cost is cost_high * 2^32 + cost_low, so that no sum can leave 64 bits.
CREATE TABLE usage_hourly (
    hour               bigint NOT NULL,
    key_id             text COLLATE "C" NOT NULL,
    project            text COLLATE "C" NOT NULL, -- '' for none: NULLs would not be unique
    provider           text COLLATE "C" NOT NULL,
    model              text COLLATE "C" NOT NULL,
    requests           bigint NOT NULL,
    errors             bigint NOT NULL,
    unpriced           bigint NOT NULL,
    prompt_tokens      bigint NOT NULL,
    cached_tokens      bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    completion_tokens  bigint NOT NULL,
    reasoning_tokens   bigint NOT NULL,
    cost_high          bigint NOT NULL,
    cost_low           bigint NOT NULL,
    PRIMARY KEY (hour, key_id, project, provider, model)
);

CREATE TABLE audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time_ms bigint NOT NULL,
    actor   text NOT NULL,
    action  text NOT NULL,
    object  text NOT NULL,
    before  text,
    after   text
);
