-- A project's requests are found without reading everybody else's.
CREATE INDEX ledger_by_project ON ledger (project, time_ms, call_id, attempt) WHERE project IS NOT NULL;
