-- Budgets, markups and what callers are charged; projects and sets of tags as groups with limits of their own.
-- Budgets are JSON: {"limit_usd":"25","period":"month","soft":false,"alerts":[80,100]}. Markups are hundredths of a percent.
ALTER TABLE keys ADD COLUMN budget text;
ALTER TABLE keys ADD COLUMN markup bigint CHECK (markup BETWEEN -10000 AND 100000);
ALTER TABLE keys ADD COLUMN managed text NOT NULL DEFAULT 'api';

-- Names in `projects` are what keys refer to; what is said of them is in `groups`.
CREATE TABLE groups (
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('project', 'tags')),
    name         text COLLATE "C" NOT NULL,
    expires_ms   bigint,
    models_allow text NOT NULL,
    models_deny  text NOT NULL,
    rpm          bigint CHECK (rpm BETWEEN 1 AND 4294967295),
    tpm          bigint CHECK (tpm BETWEEN 1 AND 4294967295),
    concurrency  bigint CHECK (concurrency BETWEEN 1 AND 4294967295),
    budget       text,
    markup       bigint CHECK (markup BETWEEN -10000 AND 100000),
    managed      text NOT NULL,
    created_ms   bigint NOT NULL,
    deleted_ms   bigint,
    revision     bigint NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE UNIQUE INDEX groups_by_revision ON groups (revision);
-- Each its own revision, so that whoever follows by revision and in pages misses none.
INSERT INTO groups (kind, name, models_allow, models_deny, managed, created_ms, revision)
    SELECT 'project', name, '[]', '[]', 'api', created_ms,
        (SELECT latest FROM revision) + row_number() OVER (ORDER BY name) FROM projects;
UPDATE revision SET latest = latest + (SELECT count(*) FROM projects);

ALTER TABLE ledger ADD COLUMN charged bigint;
UPDATE ledger SET charged = cost;
-- The sets of tags that a call belonged to, as a JSON list; NULL for none.
ALTER TABLE ledger ADD COLUMN tag_sets text;
ALTER TABLE usage_hourly ADD COLUMN charged_high bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly ADD COLUMN charged_low bigint NOT NULL DEFAULT 0;
UPDATE usage_hourly SET charged_high = cost_high, charged_low = cost_low;
CREATE INDEX usage_hourly_by_key ON usage_hourly (key_id, hour);
CREATE INDEX usage_hourly_by_project ON usage_hourly (project, hour);

-- What sets of tags were charged, by quarters of an hour: days begin on one in every time zone.
CREATE TABLE tag_spend (
    tags         text COLLATE "C" NOT NULL,
    quarter      bigint NOT NULL,
    charged_high bigint NOT NULL,
    charged_low  bigint NOT NULL,
    PRIMARY KEY (tags, quarter)
);

-- Thresholds that were passed, so that each is told of once.
CREATE TABLE alerts (
    payer           text COLLATE "C" NOT NULL,
    window_start_ms bigint NOT NULL,
    percent         bigint NOT NULL,
    noted_ms        bigint NOT NULL,
    PRIMARY KEY (payer, window_start_ms, percent)
);
