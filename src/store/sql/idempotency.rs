//! Idempotency keys, and the answers under them.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::super::error::StoreError;
use super::super::{Claim, Held, Stored};
use super::Backend;
use super::query::{Query, Row};
use crate::policy::idempotency::{Answer, Digest, Head};

/// What `state` says.
const RUNNING: i64 = 0;
const ANSWERED: i64 = 1;
const NOT_KEPT: i64 = 2;

const SELECT: &str =
    "SELECT fingerprint, owner, state, lease_ms, expires_ms, head, body FROM idempotency WHERE name = $1";

const TAKE: &str = "INSERT INTO idempotency \
    (name, fingerprint, key_id, owner, token, state, lease_ms, deadline_ms, expires_ms) \
    VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $7) \
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
pub async fn claim(store: &dyn Backend, claim: &Claim) -> Result<Held, StoreError> {
    let mut tx = store.begin().await?;
    let rows = tx.run(Query::new(SELECT).bind(claim.name.as_slice())).await?;
    if let Some(row) = rows.first()
        && let Some(held) = held(row, claim.fingerprint, claim.now_ms, Some(&claim.owner))?
    {
        return Ok(held);
    }
    let query = Query::new(TAKE)
        .bind(claim.name.as_slice())
        .bind(claim.fingerprint.as_slice())
        .bind(&*claim.key_id)
        .bind(&*claim.owner)
        .bind(claim.token.to_bytes().as_slice())
        .bind(claim.lease_ms.min(claim.deadline_ms))
        .bind(claim.deadline_ms);
    tx.run(query).await?;
    tx.commit().await?;
    Ok(Held::Mine)
}

/// See [`Store::fetch_answer`](super::Store::fetch_answer).
pub async fn fetch(
    store: &dyn Backend,
    name: Digest,
    fingerprint: Digest,
    now_ms: i64,
) -> Result<Option<Held>, StoreError> {
    let rows = store.read(Query::new(SELECT).bind(name.as_slice())).await?;
    rows.first().map_or(Ok(None), |row| held(row, fingerprint, now_ms, None))
}

/// What a row says; `None` when the key is free.
fn held(
    row: &Row,
    fingerprint: Digest,
    now_ms: i64,
    owner: Option<&str>,
) -> Result<Option<Held>, StoreError> {
    let state: i64 = row.get("state")?;
    let until: i64 = row.get(if state == RUNNING { "lease_ms" } else { "expires_ms" })?;
    let own = state == RUNNING && owner == Some(row.get::<String>("owner")?.as_str());
    if until <= now_ms || own {
        return Ok(None);
    }
    if row.get::<Vec<u8>>("fingerprint")? != fingerprint {
        return Ok(Some(Held::Other));
    }
    match state {
        RUNNING => Ok(Some(Held::Running)),
        ANSWERED => Ok(Some(Held::Done(answer(row)?, until))),
        _ => Ok(Some(Held::NotKept)),
    }
}

fn answer(row: &Row) -> Result<Stored, StoreError> {
    let head = serde_json::from_str(&row.get::<String>("head")?);
    let HeadRow { status, request_id, length, headers } =
        head.map_err(|_| StoreError::Unavailable("the store holds an answer that cannot be read".into()))?;
    let head = Arc::new(Head { status, request_id: request_id.into(), length, headers });
    Ok(Arc::new(Answer { head, body: Bytes::from(row.get::<Vec<u8>>("body")?) }))
}

/// See [`Store::finish_answer`](super::Store::finish_answer).
pub async fn finish(
    store: &dyn Backend,
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
    let query = Query::new(
        "UPDATE idempotency SET state = $1, expires_ms = $2, head = $3, bytes = $4, body = $5 \
         WHERE name = $6 AND token = $7 AND state = 0 RETURNING state",
    )
    .bind(if answer.is_some() { ANSWERED } else { NOT_KEPT })
    .bind(expires_ms)
    .bind(head)
    .bind(body.as_ref().map_or(0, |body| i64::try_from(body.len()).unwrap_or(i64::MAX)))
    .bind(body.unwrap_or_default().as_slice())
    .bind(name.as_slice())
    .bind(token.to_bytes().as_slice());
    write(store, query).await.map(|rows| rows > 0)
}

/// See [`Store::release_answer`](super::Store::release_answer).
pub async fn release(store: &dyn Backend, name: Digest, token: Ulid) -> Result<(), StoreError> {
    let query = Query::new("DELETE FROM idempotency WHERE name = $1 AND token = $2 AND state = 0");
    write(store, query.bind(name.as_slice()).bind(token.to_bytes().as_slice())).await.map(drop)
}

/// See [`Store::extend_answers`](super::Store::extend_answers).
pub async fn extend(store: &dyn Backend, owner: &str, lease_ms: i64) -> Result<(), StoreError> {
    let query = Query::new(
        "UPDATE idempotency SET lease_ms = CASE WHEN deadline_ms < $1 THEN deadline_ms ELSE $1 END \
         WHERE owner = $2 AND state = 0",
    );
    write(store, query.bind(lease_ms).bind(owner)).await.map(drop)
}

/// See [`Store::purge_answers`](super::Store::purge_answers).
pub async fn purge(store: &dyn Backend, now_ms: i64, bytes_max: u64, rows: u32) -> Result<u64, StoreError> {
    let query = Query::new(
        "DELETE FROM idempotency WHERE name IN \
         (SELECT name FROM idempotency WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2) RETURNING state",
    );
    let expired = write(store, query.bind(now_ms).bind(rows)).await?;
    let rest = u64::from(rows).saturating_sub(expired);
    // The sum over a row and all that expire later: what is beyond the bound goes.
    let query = Query::new(
        "DELETE FROM idempotency WHERE name IN (SELECT name FROM \
         (SELECT name, expires_ms, state, \
          CAST(sum(bytes) OVER (ORDER BY expires_ms DESC, name DESC) AS BIGINT) AS bytes FROM idempotency) AS summed \
         WHERE bytes > $1 AND state <> 0 ORDER BY expires_ms, name LIMIT $2) RETURNING state",
    )
    .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
    .bind(i64::try_from(rest).unwrap_or(0));
    Ok(expired + write(store, query).await?)
}

/// Runs a statement in a transaction of its own; gives the number of rows that it returns.
async fn write(store: &dyn Backend, query: Query) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let rows = tx.run(query).await?.len() as u64;
    tx.commit().await?;
    Ok(rows)
}
