//! Totals of usage: from the sums by day and hour where they can answer, else from the ledger itself.
//!
//! The sums answer when both ends lie on full hours and nobody groups by tag: those by day for whole days, unless
//! somebody groups by hour, those by hour for the rest. All ways give the same numbers.

use super::super::GROUPS_MAX;
use super::super::error::StoreError;
use super::super::rows::{GroupBy, GroupValue, TokenCounts, UsageRow};
use super::Backend;
use super::query::{Query, Row};
use crate::error::Error;
use crate::rfc3339::HOUR_MS;

/// Sums over the rows of hours and days. The cost's parts are summed apart: no sum can leave 64 bits.
const FROM_SUMS: &str = "CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(errors) AS BIGINT) AS errors, \
    CAST(sum(unpriced) AS BIGINT) AS unpriced, CAST(sum(prompt_tokens) AS BIGINT) AS prompt, \
    CAST(sum(cached_tokens) AS BIGINT) AS cached, CAST(sum(cache_write_tokens) AS BIGINT) AS cache_write, \
    CAST(sum(completion_tokens) AS BIGINT) AS completion, CAST(sum(reasoning_tokens) AS BIGINT) AS reasoning, \
    CAST(sum(cost_high) AS BIGINT) AS cost_high, CAST(sum(cost_low) AS BIGINT) AS cost_low, \
    CAST(sum(charged_high) AS BIGINT) AS charged_high, CAST(sum(charged_low) AS BIGINT) AS charged_low FROM (";

/// What both kinds of sums have.
const SUMMED: &str = "key_id, project, provider, model, requests, errors, unpriced, prompt_tokens, cached_tokens, \
    cache_write_tokens, completion_tokens, reasoning_tokens, cost_high, cost_low, charged_high, charged_low";

/// Hours of a day.
const DAY: i64 = 24;

/// The same over the ledger.
const FROM_LEDGER: &str = "count(*) AS requests, count(*) FILTER (WHERE outcome = 'failed') AS errors, \
    count(*) FILTER (WHERE cost IS NULL) AS unpriced, CAST(sum(prompt_tokens) AS BIGINT) AS prompt, \
    CAST(sum(cached_tokens) AS BIGINT) AS cached, \
    CAST(sum(cache_write_5m_tokens + cache_write_1h_tokens) AS BIGINT) AS cache_write, \
    CAST(sum(completion_tokens) AS BIGINT) AS completion, CAST(sum(reasoning_tokens) AS BIGINT) AS reasoning, \
    CAST(sum(cost >> 32) AS BIGINT) AS cost_high, CAST(sum(cost & 4294967295) AS BIGINT) AS cost_low, \
    CAST(sum(charged >> 32) AS BIGINT) AS charged_high, CAST(sum(charged & 4294967295) AS BIGINT) AS charged_low FROM ledger";

pub async fn totals(
    store: &dyn Backend,
    from_ms: i64,
    to_ms: i64,
    groups: &[GroupBy],
) -> Result<Vec<UsageRow>, StoreError> {
    let by_tag = groups.contains(&GroupBy::Tag);
    let on_hours = from_ms % HOUR_MS == 0 && to_ms % HOUR_MS == 0;
    let use_sums = on_hours && !by_tag;
    let mut query = Query::new("SELECT ");
    for (at, group) in groups.iter().enumerate() {
        query.push(format_args!("{} AS group{at}, ", expression(*group, use_sums)));
    }
    if use_sums {
        query.push(FROM_SUMS);
        sums(&mut query, from_ms.div_euclid(HOUR_MS), to_ms.div_euclid(HOUR_MS), groups);
        query.push(") AS sums");
    } else {
        query.push(FROM_LEDGER);
        if by_tag {
            query.push(store.each_tag());
        }
        query.push(" WHERE time_ms >= ").push_bind(from_ms).push(" AND time_ms < ").push_bind(to_ms);
    }
    if !groups.is_empty() {
        let names: Vec<String> = (0..groups.len()).map(|at| format!("group{at}")).collect();
        let order = names.join(" NULLS FIRST, ");
        let names = names.join(", ");
        query.push(format_args!(" GROUP BY {names} ORDER BY {order} NULLS FIRST LIMIT {}", GROUPS_MAX + 1));
    }
    let rows = store.read(query).await?;
    if rows.len() > GROUPS_MAX {
        let text =
            format!("This would give more than {GROUPS_MAX} groups. Ask for a shorter time or fewer groups.");
        return Err(Error::invalid(text, "group_by").into());
    }
    rows.iter().map(|row| read(row, groups)).collect()
}

/// The rows of sums from one hour to before another: whole days, and the hours at both ends.
fn sums(query: &mut Query, from: i64, to: i64, groups: &[GroupBy]) {
    let (first, last) = ((from + DAY - 1).div_euclid(DAY), to.div_euclid(DAY));
    let hours = |from: i64, to: i64, query: &mut Query| {
        query.push(format_args!("SELECT hour, hour / 24 AS day, {SUMMED} FROM usage_hourly WHERE hour >= "));
        query.push_bind(from).push(" AND hour < ").push_bind(to);
    };
    if first >= last || groups.contains(&GroupBy::Hour) {
        return hours(from, to, query);
    }
    // No row of a day is asked for its hour.
    query.push(format_args!("SELECT 0 AS hour, day, {SUMMED} FROM usage_daily WHERE day >= "));
    query.push_bind(first).push(" AND day < ").push_bind(last);
    for (from, to) in [(from, first * DAY), (last * DAY, to)] {
        if from < to {
            query.push(" UNION ALL ");
            hours(from, to, query);
        }
    }
}

/// The SQL of a group, from the sums or the ledger. No part of it comes from a client.
fn expression(group: GroupBy, sums: bool) -> &'static str {
    match (group, sums) {
        (GroupBy::Key, _) => "key_id",
        (GroupBy::Project, true) => "nullif(project, '')",
        (GroupBy::Project, false) => "project",
        (GroupBy::Model, _) => "model",
        (GroupBy::Provider, _) => "provider",
        (GroupBy::Tag, _) => "tag.value",
        (GroupBy::Hour, true) => "hour * 3600000",
        (GroupBy::Hour, false) => "time_ms / 3600000 * 3600000",
        (GroupBy::Day, true) => "day * 86400000",
        (GroupBy::Day, false) => "time_ms / 86400000 * 86400000",
    }
}

fn read(row: &Row, groups: &[GroupBy]) -> Result<UsageRow, StoreError> {
    // A sum over no rows at all is NULL.
    let sum =
        |name: &str| -> Result<i64, StoreError> { Ok(row.get::<Option<i64>>(name)?.unwrap_or_default()) };
    let value = |(at, group): (usize, &GroupBy)| {
        let name = format!("group{at}");
        Ok(match group {
            GroupBy::Hour | GroupBy::Day => GroupValue::Time(row.get(&name)?),
            _ => GroupValue::Name(row.get(&name)?),
        })
    };
    Ok(UsageRow {
        groups: groups.iter().enumerate().map(value).collect::<Result<_, StoreError>>()?,
        requests: sum("requests")?.try_into().unwrap_or_default(),
        errors: sum("errors")?.try_into().unwrap_or_default(),
        unpriced: sum("unpriced")?.try_into().unwrap_or_default(),
        tokens: TokenCounts {
            prompt: sum("prompt")?.try_into().unwrap_or_default(),
            cached: sum("cached")?.try_into().unwrap_or_default(),
            cache_write: sum("cache_write")?.try_into().unwrap_or_default(),
            completion: sum("completion")?.try_into().unwrap_or_default(),
            reasoning: sum("reasoning")?.try_into().unwrap_or_default(),
        },
        cost_units: units(sum("cost_high")?, sum("cost_low")?),
        charged_units: units(sum("charged_high")?, sum("charged_low")?),
    })
}

/// Money that was summed as two numbers.
pub fn units(high: i64, low: i64) -> i128 {
    (i128::from(high) << 32) + i128::from(low)
}
