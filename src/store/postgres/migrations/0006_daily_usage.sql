-- Sums of the hourly sums by day (UTC), so that a month of a fleet with many keys is read in milliseconds. Triggers keep them:
-- they hold whoever writes the hourly ones, a replica of the version before included.
CREATE TABLE usage_daily (
    day                bigint NOT NULL,
    key_id             text COLLATE "C" NOT NULL,
    project            text COLLATE "C" NOT NULL,
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
    charged_high       bigint NOT NULL,
    charged_low        bigint NOT NULL,
    PRIMARY KEY (day, key_id, project, provider, model)
);
-- Rows in the order of their keys, as everywhere, so that replicas that settle at once wait in the same order.
CREATE FUNCTION usage_hourly_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS old_day (day, key_id, project, provider, model, requests, errors, unpriced, prompt_tokens,
        cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, cost_high, cost_low, charged_high, charged_low)
    SELECT hour / 24 AS day, key_id, project, provider, model,
        sum(requests)::bigint, sum(errors)::bigint, sum(unpriced)::bigint, sum(prompt_tokens)::bigint,
        sum(cached_tokens)::bigint, sum(cache_write_tokens)::bigint, sum(completion_tokens)::bigint,
        sum(reasoning_tokens)::bigint, (sum(cost_high) + (sum(cost_low)::bigint >> 32))::bigint,
        sum(cost_low)::bigint & 4294967295, (sum(charged_high) + (sum(charged_low)::bigint >> 32))::bigint,
        sum(charged_low)::bigint & 4294967295
    FROM added
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (day, key_id, project, provider, model) DO UPDATE SET
        requests = old_day.requests + excluded.requests,
        errors = old_day.errors + excluded.errors,
        unpriced = old_day.unpriced + excluded.unpriced,
        prompt_tokens = old_day.prompt_tokens + excluded.prompt_tokens,
        cached_tokens = old_day.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = old_day.cache_write_tokens + excluded.cache_write_tokens,
        completion_tokens = old_day.completion_tokens + excluded.completion_tokens,
        reasoning_tokens = old_day.reasoning_tokens + excluded.reasoning_tokens,
        cost_high = old_day.cost_high + excluded.cost_high + ((old_day.cost_low + excluded.cost_low) >> 32),
        cost_low = (old_day.cost_low + excluded.cost_low) & 4294967295,
        charged_high = old_day.charged_high + excluded.charged_high + ((old_day.charged_low + excluded.charged_low) >> 32),
        charged_low = (old_day.charged_low + excluded.charged_low) & 4294967295;
    RETURN NULL;
END $$;
CREATE FUNCTION usage_hourly_raised() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS old_day (day, key_id, project, provider, model, requests, errors, unpriced, prompt_tokens,
        cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, cost_high, cost_low, charged_high, charged_low)
    SELECT hour / 24 AS day, key_id, project, provider, model,
        sum(requests)::bigint, sum(errors)::bigint, sum(unpriced)::bigint, sum(prompt_tokens)::bigint,
        sum(cached_tokens)::bigint, sum(cache_write_tokens)::bigint, sum(completion_tokens)::bigint,
        sum(reasoning_tokens)::bigint, (sum(cost_high) + (sum(cost_low)::bigint >> 32))::bigint,
        sum(cost_low)::bigint & 4294967295, (sum(charged_high) + (sum(charged_low)::bigint >> 32))::bigint,
        sum(charged_low)::bigint & 4294967295
    FROM (SELECT hour, key_id, project, provider, model,
            requests, errors, unpriced, prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens,
            reasoning_tokens, cost_high, cost_low, charged_high, charged_low FROM after_it
        UNION ALL SELECT hour, key_id, project, provider, model,
            -requests, -errors, -unpriced, -prompt_tokens, -cached_tokens, -cache_write_tokens, -completion_tokens,
            -reasoning_tokens, -cost_high, -cost_low, -charged_high, -charged_low FROM before_it) AS difference
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (day, key_id, project, provider, model) DO UPDATE SET
        requests = old_day.requests + excluded.requests,
        errors = old_day.errors + excluded.errors,
        unpriced = old_day.unpriced + excluded.unpriced,
        prompt_tokens = old_day.prompt_tokens + excluded.prompt_tokens,
        cached_tokens = old_day.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = old_day.cache_write_tokens + excluded.cache_write_tokens,
        completion_tokens = old_day.completion_tokens + excluded.completion_tokens,
        reasoning_tokens = old_day.reasoning_tokens + excluded.reasoning_tokens,
        cost_high = old_day.cost_high + excluded.cost_high + ((old_day.cost_low + excluded.cost_low) >> 32),
        cost_low = (old_day.cost_low + excluded.cost_low) & 4294967295,
        charged_high = old_day.charged_high + excluded.charged_high + ((old_day.charged_low + excluded.charged_low) >> 32),
        charged_low = (old_day.charged_low + excluded.charged_low) & 4294967295;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_hourly_added AFTER INSERT ON usage_hourly
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION usage_hourly_added();
CREATE TRIGGER usage_hourly_raised AFTER UPDATE ON usage_hourly
    REFERENCING OLD TABLE AS before_it NEW TABLE AS after_it FOR EACH STATEMENT EXECUTE FUNCTION usage_hourly_raised();
-- After the triggers are there, whose lock keeps writers out: what they have missed is all seen here.
INSERT INTO usage_daily
    SELECT hour / 24, key_id, project, provider, model,
        sum(requests)::bigint, sum(errors)::bigint, sum(unpriced)::bigint, sum(prompt_tokens)::bigint,
        sum(cached_tokens)::bigint, sum(cache_write_tokens)::bigint, sum(completion_tokens)::bigint,
        sum(reasoning_tokens)::bigint, (sum(cost_high) + (sum(cost_low)::bigint >> 32))::bigint,
        sum(cost_low)::bigint & 4294967295, (sum(charged_high) + (sum(charged_low)::bigint >> 32))::bigint,
        sum(charged_low)::bigint & 4294967295
    FROM usage_hourly GROUP BY 1, 2, 3, 4, 5;
