-- Budgets, markups and what callers are charged; projects and sets of tags as groups with limits of their own.
-- Budgets are JSON: {"limit_usd":"25","period":"month","soft":false,"alerts":[80,100]}. Markups are hundredths of a percent.
ALTER TABLE keys ADD COLUMN budget TEXT;
ALTER TABLE keys ADD COLUMN markup INTEGER CHECK (markup BETWEEN -10000 AND 100000);
ALTER TABLE keys ADD COLUMN managed TEXT NOT NULL DEFAULT 'api';

-- Names in `projects` are what keys refer to; what is said of them is in `groups`.
CREATE TABLE groups (
    kind         TEXT NOT NULL CHECK (kind IN ('project', 'tags')),
    name         TEXT NOT NULL,
    expires_ms   INTEGER,
    models_allow TEXT NOT NULL,
    models_deny  TEXT NOT NULL,
    rpm          INTEGER CHECK (rpm BETWEEN 1 AND 4294967295),
    tpm          INTEGER CHECK (tpm BETWEEN 1 AND 4294967295),
    concurrency  INTEGER CHECK (concurrency BETWEEN 1 AND 4294967295),
    budget       TEXT,
    markup       INTEGER CHECK (markup BETWEEN -10000 AND 100000),
    managed      TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    deleted_ms   INTEGER,
    revision     INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX groups_by_revision ON groups (revision);
-- Each its own revision, so that whoever follows by revision and in pages misses none.
INSERT INTO groups (kind, name, models_allow, models_deny, managed, created_ms, revision)
    SELECT 'project', name, '[]', '[]', 'api', created_ms,
        (SELECT latest FROM revision) + row_number() OVER (ORDER BY name) FROM projects;
UPDATE revision SET latest = latest + (SELECT count(*) FROM projects);

ALTER TABLE ledger ADD COLUMN charged INTEGER;
UPDATE ledger SET charged = cost;
ALTER TABLE usage_hourly ADD COLUMN charged_high INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly ADD COLUMN charged_low INTEGER NOT NULL DEFAULT 0;
UPDATE usage_hourly SET charged_high = cost_high, charged_low = cost_low;
CREATE INDEX usage_hourly_by_key ON usage_hourly (key_id, hour);
CREATE INDEX usage_hourly_by_project ON usage_hourly (project, hour);

-- What sets of tags were charged, by quarters of an hour: days begin on one in every time zone.
CREATE TABLE tag_spend (
    tags         TEXT NOT NULL,
    quarter      INTEGER NOT NULL,
    charged_high INTEGER NOT NULL,
    charged_low  INTEGER NOT NULL,
    PRIMARY KEY (tags, quarter)
) STRICT, WITHOUT ROWID;

-- Thresholds that were passed, so that each is told of once.
CREATE TABLE alerts (
    payer           TEXT NOT NULL,
    window_start_ms INTEGER NOT NULL,
    percent         INTEGER NOT NULL,
    noted_ms        INTEGER NOT NULL,
    PRIMARY KEY (payer, window_start_ms, percent)
) STRICT, WITHOUT ROWID;
