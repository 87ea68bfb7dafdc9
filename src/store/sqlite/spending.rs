//! What was charged to whom, and which thresholds were told of.
//!
//! Sums answer for whole hours (quarters of an hour for sets of tags), the ledger for what is left at either end.

use sqlx::QueryBuilder;
use sqlx::sqlite::Sqlite;

use super::super::error::StoreError;
use super::super::group::{GroupKind, tags_of};
use super::super::rows::{Alert, Payer};
use super::usage::units;
use super::{SqliteStore, column, unavailable};
use crate::rfc3339::{HOUR_MS, QUARTER_MS};

/// Notes of thresholds are kept this long after they were passed: longer than any period that ends.
const ALERTS_KEPT_MS: i64 = 100 * 24 * HOUR_MS;
/// The same sums of a ledger's rows as of the hourly ones.
const FROM_LEDGER: &str =
    "SELECT sum(charged >> 32) AS high, sum(charged & 4294967295) AS low FROM ledger WHERE time_ms >= ";

pub(super) async fn charged(
    store: &SqliteStore,
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
async fn whole(store: &SqliteStore, payer: &Payer, first: i64, last: i64) -> Result<i128, StoreError> {
    let (text, name) = match payer {
        Payer::Key(id) => ("FROM usage_hourly WHERE key_id = ? AND hour >= ? AND hour < ?", id),
        Payer::Group(GroupKind::Project, name) => {
            ("FROM usage_hourly WHERE project = ? AND hour >= ? AND hour < ?", name)
        }
        Payer::Group(GroupKind::Tags, name) => {
            ("FROM tag_spend WHERE tags = ? AND quarter >= ? AND quarter < ?", name)
        }
    };
    let mut query = QueryBuilder::<Sqlite>::new("SELECT sum(charged_high) AS high, sum(charged_low) AS low ");
    let mut pieces = text.split('?');
    query.push(pieces.next().unwrap_or_default()).push_bind(name.as_str());
    query.push(pieces.next().unwrap_or_default()).push_bind(first);
    query.push(pieces.next().unwrap_or_default()).push_bind(last);
    sum(store, query).await
}

/// Less than an hour or a quarter, from the ledger.
async fn part(store: &SqliteStore, payer: &Payer, from_ms: i64, to_ms: i64) -> Result<i128, StoreError> {
    if from_ms >= to_ms {
        return Ok(0);
    }
    let mut query = QueryBuilder::<Sqlite>::new(FROM_LEDGER);
    query.push_bind(from_ms).push(" AND time_ms < ").push_bind(to_ms);
    match payer {
        Payer::Key(id) => query.push(" AND key_id = ").push_bind(id.as_str()),
        Payer::Group(GroupKind::Project, name) => query.push(" AND project = ").push_bind(name.as_str()),
        Payer::Group(GroupKind::Tags, name) => {
            let first = from_ms.div_euclid(QUARTER_MS);
            // The last moment, not the end: that may be the first of the next quarter.
            let at_most = whole(store, payer, first, (to_ms - 1).div_euclid(QUARTER_MS) + 1).await?;
            if at_most == 0 {
                return Ok(0);
            }
            carrying(&mut query, name);
            // What had the tags before there was the set is not its.
            return sum(store, query).await.map(|found| found.min(at_most));
        }
    };
    sum(store, query).await
}

/// Adds the condition that a row belongs to a set of tags: by its own tags or its key's.
fn carrying(query: &mut QueryBuilder<Sqlite>, name: &str) {
    for (tag, value) in tags_of(name) {
        let pair = format!("{tag}={value}");
        query
            .push(" AND (EXISTS (SELECT 1 FROM json_each(ledger.tags) AS own WHERE own.value = ")
            .push_bind(pair.clone())
            .push(") OR EXISTS (SELECT 1 FROM keys, json_each(keys.tags) AS its WHERE keys.id = ledger.key_id AND its.value = ")
            .push_bind(pair)
            .push("))");
    }
}

async fn sum(store: &SqliteStore, mut query: QueryBuilder<Sqlite>) -> Result<i128, StoreError> {
    let row = query.build().fetch_one(&store.readers).await.map_err(unavailable)?;
    // A sum over no rows at all is NULL.
    let half = |name| Ok::<i64, StoreError>(column::<Option<i64>>(&row, name)?.unwrap_or_default());
    Ok(units(half("high")?, half("low")?))
}

pub(super) async fn note_alert(store: &SqliteStore, alert: Alert, now_ms: i64) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let noted = sqlx::query(
        "INSERT INTO alerts (payer, window_start_ms, percent, noted_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(alert.payer.to_string())
    .bind(alert.window_start_ms)
    .bind(i64::from(alert.percent))
    .bind(now_ms)
    .execute(&mut *tx)
    .await
    .map_err(unavailable)?;
    // Those of a budget without a period begin at 0 and are kept for good.
    sqlx::query("DELETE FROM alerts WHERE window_start_ms > 0 AND noted_ms < ?")
        .bind(now_ms.saturating_sub(ALERTS_KEPT_MS))
        .execute(&mut *tx)
        .await
        .map_err(unavailable)?;
    tx.commit().await.map_err(unavailable)?;
    Ok(noted.rows_affected() > 0)
}
