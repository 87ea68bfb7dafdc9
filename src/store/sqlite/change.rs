//! What every change of keys and groups has in common: a revision of its own, an audit row, a refusal of what the
//! configuration declares.

use serde_json::Value;
use sqlx::Transaction;
use sqlx::sqlite::Sqlite;

use super::super::By;
use super::super::error::StoreError;
use super::unavailable;
use crate::error::Error;

/// A transaction that holds the write lock.
pub(super) type Tx = Transaction<'static, Sqlite>;

/// The number of the next change of any key or group.
pub(super) async fn next_revision(tx: &mut Tx) -> Result<i64, StoreError> {
    sqlx::query_scalar("UPDATE revision SET latest = latest + 1 RETURNING latest")
        .fetch_one(&mut **tx)
        .await
        .map_err(unavailable)
}

/// Writes the audit row of a change.
pub(super) async fn note(
    tx: &mut Tx,
    action: &str,
    object: &str,
    by: &By,
    before: Option<Value>,
    after: Value,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (time_ms, actor, action, object, before, after) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(by.now_ms)
    .bind(&by.actor)
    .bind(action)
    .bind(object)
    .bind(before.map(|before| before.to_string()))
    .bind(after.to_string())
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

/// A 409 for what only the configuration may change. `place` is where it is declared there.
pub(super) fn declared_elsewhere(what: &str, place: &str) -> StoreError {
    Error::Conflict(format!(
        "{what} is declared in the gateway's configuration (`{place}`). Change it there and reload."
    ))
    .into()
}
