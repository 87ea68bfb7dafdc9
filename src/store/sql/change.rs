//! What every change of keys and groups has in common: a revision of its own, an audit row, a refusal of what the
//! configuration declares.

use serde_json::Value;

use super::super::By;
use super::super::error::StoreError;
use super::query::{Query, Row, Tx};
use crate::error::Error;

/// The number of the next change of any key or group.
pub async fn next_revision(tx: &mut Tx) -> Result<i64, StoreError> {
    let query = Query::new("UPDATE revision SET latest = latest + 1 RETURNING latest");
    only(tx.run(query).await?, "latest")
}

/// A column of the one row that a statement gives.
pub fn only(rows: Vec<Row>, name: &str) -> Result<i64, StoreError> {
    let row = rows.first().ok_or_else(|| StoreError::Unavailable("the store lacks a row".to_owned()))?;
    row.get(name)
}

/// Writes the audit row of a change.
pub async fn note(
    tx: &mut Tx,
    action: &str,
    object: &str,
    by: &By,
    before: Option<Value>,
    after: Value,
) -> Result<(), StoreError> {
    let query = Query::new(
        "INSERT INTO audit (time_ms, actor, action, object, before, after) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(by.now_ms)
    .bind(&by.actor)
    .bind(action)
    .bind(object)
    .bind(before.map(|before| before.to_string()))
    .bind(after.to_string());
    tx.run(query).await.map(drop)
}

/// A 409 for what only the configuration may change. `place` is where it is declared there.
pub fn declared_elsewhere(what: &str, place: &str) -> StoreError {
    Error::Conflict(format!(
        "{what} is declared in the gateway's configuration (`{place}`). Change it there and reload."
    ))
    .into()
}
