//! Totals of usage: from the hourly sums where they can answer, else from the ledger itself.
//!
//! The sums answer when both ends lie on full hours and nobody groups by tag; both ways give the same numbers.

use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteRow};

use super::super::GROUPS_MAX;
use super::super::error::StoreError;
use super::super::rows::{GroupBy, GroupValue, TokenCounts, UsageRow};
use super::{SqliteStore, column, count, unavailable};
use crate::error::Error;
use crate::rfc3339::HOUR_MS;

/// Sums over the hourly rows. The cost's parts are summed apart: no sum can leave 64 bits.
const FROM_SUMS: &str = "sum(requests) AS requests, sum(errors) AS errors, sum(unpriced) AS unpriced, \
    sum(prompt_tokens) AS prompt, sum(cached_tokens) AS cached, sum(cache_write_tokens) AS cache_write, \
    sum(completion_tokens) AS completion, sum(reasoning_tokens) AS reasoning, \
    sum(cost_high) AS cost_high, sum(cost_low) AS cost_low, \
    sum(charged_high) AS charged_high, sum(charged_low) AS charged_low FROM usage_hourly";

/// The same over the ledger.
const FROM_LEDGER: &str = "count(*) AS requests, sum(outcome = 'failed') AS errors, \
    sum(cost IS NULL) AS unpriced, sum(prompt_tokens) AS prompt, sum(cached_tokens) AS cached, \
    sum(cache_write_5m_tokens + cache_write_1h_tokens) AS cache_write, sum(completion_tokens) AS completion, \
    sum(reasoning_tokens) AS reasoning, sum(cost >> 32) AS cost_high, sum(cost & 4294967295) AS cost_low, \
    sum(charged >> 32) AS charged_high, sum(charged & 4294967295) AS charged_low FROM ledger";

/// One row per tag; a row without tags stays, with none.
const EACH_TAG: &str = " LEFT JOIN json_each(ledger.tags) AS tag ON true";

pub(super) async fn totals(
    store: &SqliteStore,
    from_ms: i64,
    to_ms: i64,
    groups: &[GroupBy],
) -> Result<Vec<UsageRow>, StoreError> {
    let by_tag = groups.contains(&GroupBy::Tag);
    let on_hours = from_ms % HOUR_MS == 0 && to_ms % HOUR_MS == 0;
    let use_sums = on_hours && !by_tag;
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    for (at, group) in groups.iter().enumerate() {
        query.push(format_args!("{} AS group{at}, ", expression(*group, use_sums)));
    }
    query.push(if use_sums { FROM_SUMS } else { FROM_LEDGER });
    if by_tag {
        query.push(EACH_TAG);
    }
    let (time, unit) = if use_sums { ("hour", HOUR_MS) } else { ("time_ms", 1) };
    query.push(format_args!(" WHERE {time} >= ")).push_bind(from_ms / unit);
    query.push(format_args!(" AND {time} < ")).push_bind(to_ms / unit);
    if !groups.is_empty() {
        let names: Vec<String> = (0..groups.len()).map(|at| format!("group{at}")).collect();
        let names = names.join(", ");
        query.push(format_args!(" GROUP BY {names} ORDER BY {names} LIMIT {}", GROUPS_MAX + 1));
    }
    let rows = query.build().fetch_all(&store.readers).await.map_err(unavailable)?;
    if rows.len() > GROUPS_MAX {
        let text =
            format!("This would give more than {GROUPS_MAX} groups. Ask for a shorter time or fewer groups.");
        return Err(Error::invalid(text, "group_by").into());
    }
    rows.iter().map(|row| read(row, groups)).collect()
}

/// The SQL of a group, from the hourly sums or the ledger. No part of it comes from a client.
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
        (GroupBy::Day, true) => "hour / 24 * 86400000",
        (GroupBy::Day, false) => "time_ms / 86400000 * 86400000",
    }
}

fn read(row: &SqliteRow, groups: &[GroupBy]) -> Result<UsageRow, StoreError> {
    // A sum over no rows at all is NULL.
    let sum =
        |name: &str| -> Result<i64, StoreError> { Ok(column::<Option<i64>>(row, name)?.unwrap_or_default()) };
    let value = |(at, group): (usize, &GroupBy)| {
        let name = format!("group{at}");
        Ok(match group {
            GroupBy::Hour | GroupBy::Day => GroupValue::Time(column(row, &name)?),
            _ => GroupValue::Name(column(row, &name)?),
        })
    };
    Ok(UsageRow {
        groups: groups.iter().enumerate().map(value).collect::<Result<_, StoreError>>()?,
        requests: count(sum("requests")?),
        errors: count(sum("errors")?),
        unpriced: count(sum("unpriced")?),
        tokens: TokenCounts {
            prompt: count(sum("prompt")?),
            cached: count(sum("cached")?),
            cache_write: count(sum("cache_write")?),
            completion: count(sum("completion")?),
            reasoning: count(sum("reasoning")?),
        },
        cost_units: units(sum("cost_high")?, sum("cost_low")?),
        charged_units: units(sum("charged_high")?, sum("charged_low")?),
    })
}

/// Money that was summed as two numbers.
pub(super) fn units(high: i64, low: i64) -> i128 {
    (i128::from(high) << 32) + i128::from(low)
}
