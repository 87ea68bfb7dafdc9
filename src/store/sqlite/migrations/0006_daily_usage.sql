-- Sums of the hourly sums by day (UTC), so that a month of a fleet with many keys is read in milliseconds. Triggers keep them:
-- they hold whoever writes the hourly ones, a replica of the version before included.
CREATE TABLE usage_daily (
    day               INTEGER NOT NULL,
    key_id            TEXT NOT NULL,
    project           TEXT NOT NULL,
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
    charged_high      INTEGER NOT NULL,
    charged_low       INTEGER NOT NULL,
    PRIMARY KEY (day, key_id, project, provider, model)
) STRICT, WITHOUT ROWID;
INSERT INTO usage_daily
    SELECT hour / 24, key_id, project, provider, model, sum(requests), sum(errors), sum(unpriced), sum(prompt_tokens),
        sum(cached_tokens), sum(cache_write_tokens), sum(completion_tokens), sum(reasoning_tokens),
        sum(cost_high) + (sum(cost_low) >> 32), sum(cost_low) & 4294967295,
        sum(charged_high) + (sum(charged_low) >> 32), sum(charged_low) & 4294967295
    FROM usage_hourly GROUP BY 1, 2, 3, 4, 5;
CREATE TRIGGER usage_hourly_added AFTER INSERT ON usage_hourly BEGIN
    INSERT INTO usage_daily VALUES (new.hour / 24, new.key_id, new.project, new.provider, new.model,
        new.requests, new.errors, new.unpriced, new.prompt_tokens, new.cached_tokens, new.cache_write_tokens,
        new.completion_tokens, new.reasoning_tokens, new.cost_high, new.cost_low, new.charged_high, new.charged_low)
    ON CONFLICT (day, key_id, project, provider, model) DO UPDATE SET
        requests = requests + excluded.requests,
        errors = errors + excluded.errors,
        unpriced = unpriced + excluded.unpriced,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        cached_tokens = cached_tokens + excluded.cached_tokens,
        cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens,
        reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
        cost_high = cost_high + excluded.cost_high + ((cost_low + excluded.cost_low) >> 32),
        cost_low = (cost_low + excluded.cost_low) & 4294967295,
        charged_high = charged_high + excluded.charged_high + ((charged_low + excluded.charged_low) >> 32),
        charged_low = (charged_low + excluded.charged_low) & 4294967295;
END;
-- The differences of the low parts may be below 0; the shift rounds down, so that the carry is right all the same.
CREATE TRIGGER usage_hourly_raised AFTER UPDATE ON usage_hourly BEGIN
    INSERT INTO usage_daily VALUES (new.hour / 24, new.key_id, new.project, new.provider, new.model,
        new.requests - old.requests, new.errors - old.errors, new.unpriced - old.unpriced,
        new.prompt_tokens - old.prompt_tokens, new.cached_tokens - old.cached_tokens,
        new.cache_write_tokens - old.cache_write_tokens, new.completion_tokens - old.completion_tokens,
        new.reasoning_tokens - old.reasoning_tokens, new.cost_high - old.cost_high, new.cost_low - old.cost_low,
        new.charged_high - old.charged_high, new.charged_low - old.charged_low)
    ON CONFLICT (day, key_id, project, provider, model) DO UPDATE SET
        requests = requests + excluded.requests,
        errors = errors + excluded.errors,
        unpriced = unpriced + excluded.unpriced,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        cached_tokens = cached_tokens + excluded.cached_tokens,
        cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens,
        reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
        cost_high = cost_high + excluded.cost_high + ((cost_low + excluded.cost_low) >> 32),
        cost_low = (cost_low + excluded.cost_low) & 4294967295,
        charged_high = charged_high + excluded.charged_high + ((charged_low + excluded.charged_low) >> 32),
        charged_low = (charged_low + excluded.charged_low) & 4294967295;
END;
