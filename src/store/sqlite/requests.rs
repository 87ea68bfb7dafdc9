//! Reading the ledger, newest first.
//!
//! Pages follow each other by the key (time, call, attempt), not by counting rows: what is settled meanwhile
//! moves nothing.

use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteRow};
use ulid::Ulid;

use super::super::error::StoreError;
use super::super::rows::{LedgerRow, Page, RequestFilter, TokenCounts};
use super::{SqliteStore, bad_cursor, column, count, json_tags, page, page_size, unavailable};
use crate::money::Usd;

/// Where a page ended.
type Place = (i64, Ulid, u16);

pub(super) async fn list(
    store: &SqliteStore,
    filter: &RequestFilter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<LedgerRow>, StoreError> {
    let place = match cursor {
        None => None,
        Some(text) => Some(read_cursor(text).ok_or_else(bad_cursor)?),
    };
    let (size, fetch) = page_size(limit);
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM ledger WHERE 1 = 1");
    restrict(&mut query, filter);
    if let Some((time_ms, call_id, attempt)) = place {
        query.push(" AND (time_ms, call_id, attempt) < (").push_bind(time_ms);
        query.push(", ").push_bind(call_id.to_bytes().to_vec());
        query.push(", ").push_bind(i64::from(attempt)).push(")");
    }
    query.push(" ORDER BY time_ms DESC, call_id DESC, attempt DESC LIMIT ").push_bind(fetch);
    let rows = query.build().fetch_all(&store.readers).await.map_err(unavailable)?;
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(page(rows, size, cursor_of))
}

/// Adds the filter's conditions.
fn restrict(query: &mut QueryBuilder<Sqlite>, filter: &RequestFilter) {
    let texts = [
        ("key_id", &filter.key),
        ("project", &filter.project),
        ("model", &filter.model),
        ("provider", &filter.provider),
        ("outcome", &filter.outcome),
        ("request_id", &filter.request_id),
    ];
    for (name, wanted) in texts {
        if let Some(wanted) = wanted {
            query.push(" AND ").push(name).push(" = ").push_bind(wanted.clone());
        }
    }
    if let Some(tag) = &filter.tag {
        query.push(" AND EXISTS (SELECT 1 FROM json_each(ledger.tags) AS own WHERE own.value = ");
        query.push_bind(tag.clone()).push(")");
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(i64::from(status));
    }
    if let Some(from_ms) = filter.from_ms {
        query.push(" AND time_ms >= ").push_bind(from_ms);
    }
    if let Some(to_ms) = filter.to_ms {
        query.push(" AND time_ms < ").push_bind(to_ms);
    }
}

/// `<milliseconds>.<call id>.<attempt>`; opaque to clients.
fn cursor_of(row: &LedgerRow) -> String {
    format!("{}.{}.{}", row.time_ms, row.call_id, row.attempt)
}

fn read_cursor(text: &str) -> Option<Place> {
    let mut parts = text.splitn(3, '.');
    let time_ms = parts.next()?.parse().ok()?;
    let call_id = Ulid::from_string(parts.next()?).ok()?;
    let attempt = parts.next()?.parse().ok()?;
    Some((time_ms, call_id, attempt))
}

fn read(row: &SqliteRow) -> Result<LedgerRow, StoreError> {
    let number = |name: &str| column::<Option<i64>>(row, name);
    let tokens = |name: &str| -> Result<u64, StoreError> { Ok(number(name)?.map(count).unwrap_or_default()) };
    let counts = TokenCounts {
        prompt: tokens("prompt_tokens")?,
        cached: tokens("cached_tokens")?,
        cache_write: tokens("cache_write_5m_tokens")? + tokens("cache_write_1h_tokens")?,
        completion: tokens("completion_tokens")?,
        reasoning: tokens("reasoning_tokens")?,
    };
    Ok(LedgerRow {
        call_id: super::ledger::call_id(row)?,
        attempt: count(column(row, "attempt")?),
        request_id: column(row, "request_id")?,
        time_ms: column(row, "time_ms")?,
        key_id: column(row, "key_id")?,
        project: column(row, "project")?,
        requested_model: column(row, "requested_model")?,
        provider: column(row, "provider")?,
        model: column(row, "model")?,
        upstream_model: column(row, "upstream_model")?,
        status: count(column(row, "status")?),
        outcome: column(row, "outcome")?,
        error: column(row, "error")?,
        stream: column(row, "stream")?,
        ttft_ms: number("ttft_ms")?.map(count),
        duration_ms: count(column(row, "duration_ms")?),
        tokens: number("prompt_tokens")?.map(|_| counts),
        estimated: column(row, "estimated")?,
        cost: number("cost")?.map(Usd::from_units),
        charged: number("charged")?.map(Usd::from_units),
        tags: json_tags(column(row, "tags")?)?,
    })
}
