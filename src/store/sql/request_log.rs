//! Bodies of calls: stored in batches, read with a trace in the audit trail, removed when they are old or too much.

use serde_json::json;
use ulid::Ulid;

use super::super::error::StoreError;
use super::super::{By, LoggedCall};
use super::Backend;
use super::change::note;
use super::pages::bytes_ulid;
use super::query::{Query, Row};
use crate::request_log::Kept;

/// Columns of a call, in the order in which [`bind`] gives their values.
const COLUMNS: &str = "call_id, request_id, time_ms, key_id, project, status, outcome, error, stream, bytes, request, \
    request_truncated, request_redacted, response, response_truncated, response_redacted";
/// Calls of one statement at most.
const ROWS: usize = 16;

/// See [`Store::log_calls`](super::Store::log_calls).
pub async fn log(store: &dyn Backend, calls: &[LoggedCall]) -> Result<(), StoreError> {
    for calls in calls.chunks(ROWS) {
        let mut query = Query::new(format!("INSERT INTO request_log ({COLUMNS}) VALUES "));
        for (at, call) in calls.iter().enumerate() {
            query.push(if at == 0 { "(" } else { ", (" });
            bind(&mut query, call);
            query.push(")");
        }
        query.push(" ON CONFLICT (call_id) DO NOTHING");
        store.write(query).await?;
    }
    Ok(())
}

fn bind(query: &mut Query, call: &LoggedCall) {
    query.push_bind(call.call_id.to_bytes().as_slice());
    query.push(", ").push_bind(&call.request_id);
    query.push(", ").push_bind(call.time_ms);
    query.push(", ").push_bind(&call.key_id);
    query.push(", ").push_bind(&call.project);
    query.push(", ").push_bind(call.status);
    query.push(", ").push_bind(&call.outcome);
    query.push(", ").push_bind(&call.error);
    query.push(", ").push_bind(call.stream);
    query.push(", ").push_bind(i64::try_from(call.bytes()).unwrap_or(i64::MAX));
    for kept in [&call.request, &call.response] {
        let kept = kept.as_ref();
        query.push(", ").push_bind(kept.map(|kept| kept.body.as_str()));
        query.push(", ").push_bind(kept.is_some_and(|kept| kept.truncated));
        query.push(", ").push_bind(kept.map_or(0, |kept| kept.redacted));
    }
}

/// See [`Store::logged_calls`](super::Store::logged_calls).
pub async fn ids(store: &dyn Backend, id: &str, limit: u32) -> Result<Vec<(Ulid, i64)>, StoreError> {
    let mut query = Query::new("SELECT call_id, time_ms FROM request_log WHERE ");
    of(&mut query, id);
    query.push(" ORDER BY time_ms DESC, call_id DESC LIMIT ").push_bind(limit);
    let rows = store.read(query).await?;
    rows.iter().map(|row| Ok((bytes_ulid(row, "call_id")?, row.get("time_ms")?))).collect()
}

/// The condition that a row is meant by `id`: the id of its request, or of its call.
fn of(query: &mut Query, id: &str) {
    query.push("(request_id = ").push_bind(id);
    if let Ok(call_id) = Ulid::from_string(id) {
        query.push(" OR call_id = ").push_bind(call_id.to_bytes().as_slice());
    }
    query.push(")");
}

/// See [`Store::read_logged`](super::Store::read_logged).
pub async fn read(store: &dyn Backend, call_id: Ulid, by: By) -> Result<Option<LoggedCall>, StoreError> {
    let query = Query::new(format!("SELECT {COLUMNS} FROM request_log WHERE call_id = $1"));
    let rows = store.read(query.bind(call_id.to_bytes().as_slice())).await?;
    let Some(call) = rows.first().map(call).transpose()? else { return Ok(None) };
    // Who cannot be noted reads nothing.
    let mut tx = store.begin().await?;
    let what = json!({"request_id": call.request_id, "key_id": call.key_id, "project": call.project});
    note(&mut tx, "request_log.read", &call_id.to_string(), &by, None, what).await?;
    tx.commit().await?;
    Ok(Some(call))
}

/// See [`Store::delete_logged`](super::Store::delete_logged).
pub async fn delete(store: &dyn Backend, id: &str, limit: u32, by: By) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let mut query =
        Query::new("DELETE FROM request_log WHERE call_id IN (SELECT call_id FROM request_log WHERE ");
    of(&mut query, id);
    query.push(" ORDER BY time_ms, call_id LIMIT ").push_bind(limit).push(") RETURNING call_id");
    let deleted = tx.run(query).await?.len() as u64;
    if deleted > 0 {
        note(&mut tx, "request_log.delete", id, &by, None, json!({"deleted": deleted})).await?;
        tx.commit().await?;
    }
    Ok(deleted)
}

/// See [`Store::purge_logged`](super::Store::purge_logged).
pub async fn purge(
    store: &dyn Backend,
    before_ms: i64,
    bytes_max: u64,
    rows: u32,
) -> Result<u64, StoreError> {
    let Some((time_ms, call_id)) = last_to_go(store, before_ms, bytes_max).await? else { return Ok(0) };
    let query = Query::new(
        "DELETE FROM request_log WHERE call_id IN (SELECT call_id FROM request_log \
         WHERE (time_ms, call_id) <= ($1, $2) ORDER BY time_ms, call_id LIMIT $3) RETURNING status",
    );
    let query = query.bind(time_ms).bind(call_id.to_bytes().as_slice()).bind(rows);
    // Under the lock of changes, so that replicas which remove the same do it one after the other.
    let mut tx = store.begin().await?;
    let deleted = tx.run(query).await?.len() as u64;
    tx.commit().await?;
    Ok(deleted)
}

/// The newest of those that are too old or beyond the bound: it and all before it go.
async fn last_to_go(
    store: &dyn Backend,
    before_ms: i64,
    bytes_max: u64,
) -> Result<Option<(i64, Ulid)>, StoreError> {
    let old = Query::new(
        "SELECT time_ms, call_id FROM request_log WHERE time_ms < $1 ORDER BY time_ms DESC, call_id DESC LIMIT 1",
    );
    // The sum over a row and all newer ones.
    let much = Query::new(
        "SELECT time_ms, call_id FROM (SELECT time_ms, call_id, \
         CAST(sum(bytes) OVER (ORDER BY time_ms DESC, call_id DESC) AS BIGINT) AS total FROM request_log) AS summed \
         WHERE total > $1 ORDER BY time_ms DESC, call_id DESC LIMIT 1",
    );
    let mut last = None;
    for query in [old.bind(before_ms), much.bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))] {
        let rows = store.read(query).await?;
        let found =
            rows.first().map(|row| Ok::<_, StoreError>((row.get("time_ms")?, bytes_ulid(row, "call_id")?)));
        last = last.max(found.transpose()?);
    }
    Ok(last)
}

fn call(row: &Row) -> Result<LoggedCall, StoreError> {
    let kept = |name: &str| -> Result<Option<Kept>, StoreError> {
        let Some(body) = row.get::<Option<String>>(name)? else { return Ok(None) };
        let truncated = row.get(&format!("{name}_truncated"))?;
        Ok(Some(Kept { body, truncated, redacted: row.count(&format!("{name}_redacted"))? }))
    };
    Ok(LoggedCall {
        call_id: bytes_ulid(row, "call_id")?,
        request_id: row.get("request_id")?,
        time_ms: row.get("time_ms")?,
        key_id: row.get("key_id")?,
        project: row.get("project")?,
        status: row.count("status")?,
        outcome: row.get("outcome")?,
        error: row.get("error")?,
        stream: row.get("stream")?,
        request: kept("request")?,
        response: kept("response")?,
    })
}
