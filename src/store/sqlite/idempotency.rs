//! Idempotency keys in SQLite.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use ulid::Ulid;

use super::super::error::StoreError;
use super::super::{Claim, Held, Stored};
use super::{SqliteStore, column, unavailable};
use crate::policy::idempotency::{Answer, Digest, Head};

/// What `state` says.
const RUNNING: i64 = 0;
const ANSWERED: i64 = 1;
const NOT_KEPT: i64 = 2;

const SELECT: &str =
    "SELECT fingerprint, owner, state, lease_ms, expires_ms, head, body FROM idempotency WHERE name = ?";

const TAKE: &str = "INSERT INTO idempotency \
    (name, fingerprint, key_id, owner, token, state, lease_ms, deadline_ms, expires_ms) \
    VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?7) \
    ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, key_id = excluded.key_id, \
    owner = excluded.owner, token = excluded.token, state = 0, lease_ms = excluded.lease_ms, \
    deadline_ms = excluded.deadline_ms, expires_ms = excluded.expires_ms, head = NULL, bytes = 0, body = NULL";

/// [`Head`] as JSON.
#[derive(Serialize, Deserialize)]
struct HeadRow {
    status: u16,
    request_id: String,
    length: Option<u64>,
    headers: Vec<(String, String)>,
}

/// See [`Store::claim_answer`](super::Store::claim_answer).
pub(super) async fn claim(store: &SqliteStore, claim: &Claim) -> Result<Held, StoreError> {
    let mut tx = store.begin().await?;
    let row = sqlx::query(SELECT).bind(claim.name.to_vec()).fetch_optional(&mut *tx).await;
    let row = row.map_err(unavailable)?;
    if let Some(row) = row
        && let Some(held) = held(&row, claim.fingerprint, claim.now_ms, Some(&claim.owner))?
    {
        return Ok(held);
    }
    sqlx::query(TAKE)
        .bind(claim.name.to_vec())
        .bind(claim.fingerprint.to_vec())
        .bind(claim.key_id.to_string())
        .bind(claim.owner.to_string())
        .bind(claim.token.to_bytes().to_vec())
        .bind(claim.lease_ms.min(claim.deadline_ms))
        .bind(claim.deadline_ms)
        .execute(&mut *tx)
        .await
        .map_err(unavailable)?;
    tx.commit().await.map_err(unavailable)?;
    Ok(Held::Mine)
}

/// See [`Store::fetch_answer`](super::Store::fetch_answer).
pub(super) async fn fetch(
    store: &SqliteStore,
    name: Digest,
    fingerprint: Digest,
    now_ms: i64,
) -> Result<Option<Held>, StoreError> {
    let row = sqlx::query(SELECT).bind(name.to_vec()).fetch_optional(&store.readers).await;
    match row.map_err(unavailable)? {
        Some(row) => held(&row, fingerprint, now_ms, None),
        None => Ok(None),
    }
}

/// What a row says; `None` when the key is free.
fn held(
    row: &SqliteRow,
    fingerprint: Digest,
    now_ms: i64,
    owner: Option<&str>,
) -> Result<Option<Held>, StoreError> {
    let state: i64 = column(row, "state")?;
    let until: i64 = column(row, if state == RUNNING { "lease_ms" } else { "expires_ms" })?;
    let own = state == RUNNING && owner == Some(column(row, "owner")?);
    if until <= now_ms || own {
        return Ok(None);
    }
    if column::<&[u8]>(row, "fingerprint")? != fingerprint {
        return Ok(Some(Held::Other));
    }
    match state {
        RUNNING => Ok(Some(Held::Running)),
        ANSWERED => Ok(Some(Held::Done(answer(row)?, until))),
        _ => Ok(Some(Held::NotKept)),
    }
}

fn answer(row: &SqliteRow) -> Result<Stored, StoreError> {
    let head = serde_json::from_str(column(row, "head")?);
    let HeadRow { status, request_id, length, headers } =
        head.map_err(|_| StoreError::Unavailable("the store holds an answer that cannot be read".into()))?;
    let head = Arc::new(Head { status, request_id: request_id.into(), length, headers });
    Ok(Arc::new(Answer { head, body: Bytes::from(column::<Vec<u8>>(row, "body")?) }))
}

/// See [`Store::finish_answer`](super::Store::finish_answer).
pub(super) async fn finish(
    store: &SqliteStore,
    name: Digest,
    token: Ulid,
    answer: Option<Stored>,
    expires_ms: i64,
) -> Result<bool, StoreError> {
    let head = answer.as_ref().map(|answer| {
        let Head { status, request_id, length, headers } = &*answer.head;
        let row = HeadRow {
            status: *status,
            request_id: request_id.to_string(),
            length: *length,
            headers: headers.clone(),
        };
        serde_json::to_string(&row).unwrap_or_default()
    });
    let body = answer.as_ref().map(|answer| answer.body.to_vec());
    let done = sqlx::query(
        "UPDATE idempotency SET state = ?, expires_ms = ?, head = ?, bytes = ?, body = ? \
         WHERE name = ? AND token = ? AND state = 0",
    )
    .bind(if answer.is_some() { ANSWERED } else { NOT_KEPT })
    .bind(expires_ms)
    .bind(head)
    .bind(body.as_ref().map_or(0, |body| i64::try_from(body.len()).unwrap_or(i64::MAX)))
    .bind(body)
    .bind(name.to_vec())
    .bind(token.to_bytes().to_vec())
    .execute(&store.writer)
    .await
    .map_err(unavailable)?;
    Ok(done.rows_affected() > 0)
}

/// See [`Store::release_answer`](super::Store::release_answer).
pub(super) async fn release(store: &SqliteStore, name: Digest, token: Ulid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM idempotency WHERE name = ? AND token = ? AND state = 0")
        .bind(name.to_vec())
        .bind(token.to_bytes().to_vec())
        .execute(&store.writer)
        .await
        .map(drop)
        .map_err(unavailable)
}

/// See [`Store::extend_answers`](super::Store::extend_answers).
pub(super) async fn extend(store: &SqliteStore, owner: &str, lease_ms: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE idempotency SET lease_ms = min(?, deadline_ms) WHERE owner = ? AND state = 0")
        .bind(lease_ms)
        .bind(owner.to_owned())
        .execute(&store.writer)
        .await
        .map(drop)
        .map_err(unavailable)
}

/// See [`Store::purge_answers`](super::Store::purge_answers).
pub(super) async fn purge(
    store: &SqliteStore,
    now_ms: i64,
    bytes_max: u64,
    rows: u32,
) -> Result<u64, StoreError> {
    let expired = sqlx::query(
        "DELETE FROM idempotency WHERE rowid IN \
         (SELECT rowid FROM idempotency WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)",
    )
    .bind(now_ms)
    .bind(rows)
    .execute(&store.writer)
    .await
    .map_err(unavailable)?
    .rows_affected();
    let rest = u64::from(rows).saturating_sub(expired);
    // The sum over a row and all that expire later: what is beyond the bound goes.
    let over = sqlx::query(
        "DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM \
         (SELECT rowid, expires_ms, state, sum(bytes) OVER (ORDER BY expires_ms DESC, rowid DESC) AS bytes \
          FROM idempotency) WHERE bytes > ? AND state <> 0 ORDER BY expires_ms, rowid LIMIT ?)",
    )
    .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
    .bind(i64::try_from(rest).unwrap_or(0))
    .execute(&store.writer)
    .await
    .map_err(unavailable)?
    .rows_affected();
    Ok(expired + over)
}
