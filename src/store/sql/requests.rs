//! Reading the ledger, newest first.
//!
//! Pages follow each other by the key (time, call, attempt), not by counting rows: what is settled meanwhile
//! moves nothing.

use ulid::Ulid;

use super::super::error::StoreError;
use super::super::rows::{LedgerRow, Page, RequestFilter, TokenCounts};
use super::Backend;
use super::pages::{bad_cursor, bytes_ulid, json_tags, page, page_size};
use super::query::{Query, Row};
use super::receipts;
use super::spending::listed;
use crate::money::Usd;

/// Where a page ended.
type Place = (i64, Ulid, u16);

pub async fn list(
    store: &dyn Backend,
    filter: &RequestFilter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<LedgerRow>, StoreError> {
    let place = match cursor {
        None => None,
        Some(text) => Some(read_cursor(text).ok_or_else(bad_cursor)?),
    };
    let (size, fetch) = page_size(limit);
    let mut query = Query::new(format!("SELECT {} FROM ledger WHERE 1 = 1", receipts::names()));
    restrict(&mut query, filter);
    if let Some((time_ms, call_id, attempt)) = place {
        query.push(" AND (time_ms, call_id, attempt) < (").push_bind(time_ms);
        query.push(", ").push_bind(call_id.to_bytes().as_slice());
        query.push(", ").push_bind(i64::from(attempt)).push(")");
    }
    query.push(" ORDER BY time_ms DESC, call_id DESC, attempt DESC LIMIT ").push_bind(fetch);
    let rows = store.read(query).await?;
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(page(rows, size, cursor_of))
}

/// Adds the filter's conditions.
fn restrict(query: &mut Query, filter: &RequestFilter) {
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
            query.push(" AND ").push(name).push(" = ").push_bind(wanted);
        }
    }
    if let Some(id) = &filter.of {
        query.push(" AND (request_id = ").push_bind(id);
        if let Ok(call_id) = Ulid::from_string(id) {
            query.push(" OR call_id = ").push_bind(call_id.to_bytes().as_slice());
        }
        query.push(")");
    }
    if let Some(tag) = &filter.tag {
        query.push(" AND tags LIKE ").push_bind(listed(tag)).push(r" ESCAPE '\'");
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

fn read(row: &Row) -> Result<LedgerRow, StoreError> {
    let number = |name: &str| row.get::<Option<i64>>(name);
    let tokens = |name: &str| -> Result<u64, StoreError> { Ok(number(name)?.map(count).unwrap_or_default()) };
    let counts = TokenCounts {
        prompt: tokens("prompt_tokens")?,
        cached: tokens("cached_tokens")?,
        cache_write: tokens("cache_write_5m_tokens")? + tokens("cache_write_1h_tokens")?,
        completion: tokens("completion_tokens")?,
        reasoning: tokens("reasoning_tokens")?,
    };
    Ok(LedgerRow {
        call_id: bytes_ulid(row, "call_id")?,
        attempt: row.count("attempt")?,
        request_id: row.get("request_id")?,
        time_ms: row.get("time_ms")?,
        key_id: row.get("key_id")?,
        project: row.get("project")?,
        requested_model: row.get("requested_model")?,
        provider: row.get("provider")?,
        model: row.get("model")?,
        upstream_model: row.get("upstream_model")?,
        status: row.count("status")?,
        outcome: row.get("outcome")?,
        error: row.get("error")?,
        stream: row.get("stream")?,
        ttft_ms: number("ttft_ms")?.map(count),
        duration_ms: row.count("duration_ms")?,
        tokens: number("prompt_tokens")?.map(|_| counts),
        estimated: row.get("estimated")?,
        cost: number("cost")?.map(Usd::from_units),
        charged: number("charged")?.map(Usd::from_units),
        tags: json_tags(&row.get::<String>("tags")?)?,
    })
}

/// A count that was stored as `i64`.
fn count<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}
