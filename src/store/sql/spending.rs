//! What was charged to whom, and which thresholds were told of.
//!
//! Sums answer for whole hours (quarters of an hour for sets of tags), the ledger for what is left at either end.

use super::super::error::StoreError;
use super::super::group::GroupKind;
use super::super::rows::{Alert, Payer};
use super::Backend;
use super::query::Query;
use super::usage::units;
use crate::rfc3339::{HOUR_MS, QUARTER_MS};

/// Notes of thresholds are kept this long after they were passed: longer than any period that ends.
const ALERTS_KEPT_MS: i64 = 100 * 24 * HOUR_MS;
/// The same sums of a ledger's rows as of the hourly ones.
const FROM_LEDGER: &str = "SELECT CAST(sum(charged >> 32) AS BIGINT) AS high, CAST(sum(charged & 4294967295) AS BIGINT) AS low \
    FROM ledger WHERE time_ms >= ";

pub async fn charged(
    store: &dyn Backend,
    payer: &Payer,
    from_ms: i64,
    to_ms: i64,
) -> Result<i128, StoreError> {
    let unit = match payer {
        Payer::Group(GroupKind::Tags, _) => QUARTER_MS,
        _ => HOUR_MS,
    };
    let first = from_ms.saturating_add(unit - 1).div_euclid(unit);
    let last = to_ms.div_euclid(unit);
    if first > last {
        return part(store, payer, from_ms, to_ms).await;
    }
    let whole = whole(store, payer, first, last).await?;
    let before = part(store, payer, from_ms, first.saturating_mul(unit)).await?;
    let after = part(store, payer, last.saturating_mul(unit), to_ms).await?;
    Ok(whole + before + after)
}

/// Whole hours or quarters, from `first` to before `last`.
async fn whole(store: &dyn Backend, payer: &Payer, first: i64, last: i64) -> Result<i128, StoreError> {
    let (from, name) = match payer {
        Payer::Key(id) => ("usage_hourly WHERE key_id = $1 AND hour >= $2 AND hour < $3", id),
        Payer::Group(GroupKind::Project, name) => {
            ("usage_hourly WHERE project = $1 AND hour >= $2 AND hour < $3", name)
        }
        Payer::Group(GroupKind::Tags, name) => {
            ("tag_spend WHERE tags = $1 AND quarter >= $2 AND quarter < $3", name)
        }
    };
    let text = format!(
        "SELECT CAST(sum(charged_high) AS BIGINT) AS high, CAST(sum(charged_low) AS BIGINT) AS low FROM {from}"
    );
    sum(store, Query::new(text).bind(name.as_str()).bind(first).bind(last)).await
}

/// Less than an hour or a quarter, from the ledger.
async fn part(store: &dyn Backend, payer: &Payer, from_ms: i64, to_ms: i64) -> Result<i128, StoreError> {
    if from_ms >= to_ms {
        return Ok(0);
    }
    let mut query = Query::new(FROM_LEDGER);
    query.push_bind(from_ms).push(" AND time_ms < ").push_bind(to_ms);
    match payer {
        Payer::Key(id) => query.push(" AND key_id = ").push_bind(id.as_str()),
        Payer::Group(GroupKind::Project, name) => query.push(" AND project = ").push_bind(name.as_str()),
        // The rows say themselves which sets they belonged to.
        Payer::Group(GroupKind::Tags, name) => {
            query.push(" AND tag_sets LIKE ").push_bind(listed(name)).push(r" ESCAPE '\'")
        }
    };
    sum(store, query).await
}

/// A pattern that fits a JSON list of texts with this one in it.
pub fn listed(name: &str) -> String {
    let written = serde_json::Value::from(name).to_string();
    let mut pattern = String::with_capacity(written.len() + 8);
    pattern.push('%');
    for char in written.chars() {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('%');
    pattern
}

async fn sum(store: &dyn Backend, query: Query) -> Result<i128, StoreError> {
    let rows = store.read(query).await?;
    let Some(row) = rows.first() else { return Ok(0) };
    // A sum over no rows at all is NULL.
    let half = |name| Ok::<i64, StoreError>(row.get::<Option<i64>>(name)?.unwrap_or_default());
    Ok(units(half("high")?, half("low")?))
}

pub async fn note_alert(store: &dyn Backend, alert: Alert, now_ms: i64) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let query = Query::new(
        "INSERT INTO alerts (payer, window_start_ms, percent, noted_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING RETURNING percent",
    )
    .bind(alert.payer.to_string())
    .bind(alert.window_start_ms)
    .bind(i64::from(alert.percent))
    .bind(now_ms);
    let noted = tx.run(query).await?;
    // Those of a budget without a period begin at 0 and are kept for good.
    let query = Query::new("DELETE FROM alerts WHERE window_start_ms > 0 AND noted_ms < $1");
    tx.run(query.bind(now_ms.saturating_sub(ALERTS_KEPT_MS))).await?;
    tx.commit().await?;
    Ok(!noted.is_empty())
}
