//! The embedded store: one SQLite file in the data folder.
//!
//! One writer connection, because SQLite has one writer anyway and a queue in this process is fairer than the
//! lock; a few readers beside it, which WAL mode lets run meanwhile. Another process (the command line) may have
//! the file open too: writes begin with the write lock and wait for it.
//!
//! With `synchronous = NORMAL` a killed process loses nothing that was committed, a power cut the last commits.

mod change;
mod declare;
mod groups;
mod keys;
mod ledger;
mod open;
mod requests;
mod spending;
#[cfg(test)]
mod tests;
mod usage;

use std::path::Path;

use sqlx::SqlitePool;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Row as _, Transaction};

use super::error::StoreError;
use super::group::{GroupKind, GroupPatch, GroupRecord, GroupSpec};
use super::key::FreshKey;
use super::rows::{
    Alert, AuditRow, Declared, GroupBy, KeyRecord, LedgerRow, Page, Payer, RequestFilter, UsageRow,
};
use super::spec::{KeyPatch, KeySpec};
use super::{By, PAGE_MAX, Store, StoreFuture};
use crate::error::Error;
use crate::receipt::Receipt;

/// The embedded store. Cheap to clone: both pools are shared.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Name of the file in the data folder.
    pub const FILE_NAME: &'static str = "gateway.db";

    /// Opens the store in `folder`, making folder and file (mode 0600) where they are missing, and brings its
    /// schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], saying what to do: the folder cannot be written, the file is not a database,
    /// its schema is newer than this binary.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let (writer, readers) = open::open(folder).await?;
        Ok(Self { writer, readers })
    }

    /// Closes every connection, after what is running has ended. The write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a transaction that holds the write lock from its start, so that it cannot fail half-way for it.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)
    }
}

impl Store for SqliteStore {
    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> StoreFuture<'a, ()> {
        Box::pin(ledger::settle(self, receipts))
    }

    fn create_key(&self, spec: KeySpec, by: By) -> StoreFuture<'_, (KeyRecord, FreshKey)> {
        Box::pin(keys::create(self, spec, by))
    }

    fn key<'a>(&'a self, id: &'a str) -> StoreFuture<'a, KeyRecord> {
        Box::pin(keys::get(self, id))
    }

    fn keys<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<KeyRecord>> {
        Box::pin(keys::list(self, cursor, limit))
    }

    fn update_key<'a>(&'a self, id: &'a str, patch: KeyPatch, by: By) -> StoreFuture<'a, KeyRecord> {
        Box::pin(keys::update(self, id, patch, by))
    }

    fn revoke_key<'a>(&'a self, id: &'a str, by: By) -> StoreFuture<'a, KeyRecord> {
        Box::pin(keys::revoke(self, id, by))
    }

    fn rotate_key<'a>(&'a self, id: &'a str, by: By) -> StoreFuture<'a, (KeyRecord, FreshKey)> {
        Box::pin(keys::rotate(self, id, by))
    }

    fn keys_changed_since(&self, revision: i64, limit: u32) -> StoreFuture<'_, Vec<KeyRecord>> {
        Box::pin(keys::changed_since(self, revision, limit))
    }

    fn requests<'a>(
        &'a self,
        filter: &'a RequestFilter,
        cursor: Option<&'a str>,
        limit: u32,
    ) -> StoreFuture<'a, Page<LedgerRow>> {
        Box::pin(requests::list(self, filter, cursor, limit))
    }

    fn usage<'a>(
        &'a self,
        from_ms: i64,
        to_ms: i64,
        groups: &'a [GroupBy],
    ) -> StoreFuture<'a, Vec<UsageRow>> {
        Box::pin(usage::totals(self, from_ms, to_ms, groups))
    }

    fn create_group(
        &self,
        kind: GroupKind,
        name: String,
        spec: GroupSpec,
        by: By,
    ) -> StoreFuture<'_, GroupRecord> {
        Box::pin(groups::create(self, kind, name, spec, by))
    }

    fn group<'a>(&'a self, kind: GroupKind, name: &'a str) -> StoreFuture<'a, GroupRecord> {
        Box::pin(groups::get(self, kind, name))
    }

    fn groups<'a>(
        &'a self,
        kind: GroupKind,
        cursor: Option<&'a str>,
        limit: u32,
    ) -> StoreFuture<'a, Page<GroupRecord>> {
        Box::pin(groups::list(self, kind, cursor, limit))
    }

    fn update_group<'a>(
        &'a self,
        kind: GroupKind,
        name: &'a str,
        patch: GroupPatch,
        by: By,
    ) -> StoreFuture<'a, GroupRecord> {
        Box::pin(groups::update(self, kind, name, patch, by))
    }

    fn delete_group<'a>(&'a self, kind: GroupKind, name: &'a str, by: By) -> StoreFuture<'a, GroupRecord> {
        Box::pin(groups::delete(self, kind, name, by))
    }

    fn groups_changed_since(&self, revision: i64, limit: u32) -> StoreFuture<'_, Vec<GroupRecord>> {
        Box::pin(groups::changed_since(self, revision, limit))
    }

    fn declare(&self, declared: Declared, by: By) -> StoreFuture<'_, ()> {
        Box::pin(declare::declare(self, declared, by))
    }

    fn charged<'a>(&'a self, payer: &'a Payer, from_ms: i64, to_ms: i64) -> StoreFuture<'a, i128> {
        Box::pin(spending::charged(self, payer, from_ms, to_ms))
    }

    fn note_alert(&self, alert: Alert, now_ms: i64) -> StoreFuture<'_, bool> {
        Box::pin(spending::note_alert(self, alert, now_ms))
    }

    fn audit<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<AuditRow>> {
        Box::pin(keys::audit_trail(self, cursor, limit))
    }
}

/// A failure of SQLite as the operator reads it: one line, without bound values.
fn unavailable(error: sqlx::Error) -> StoreError {
    let text = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "all connections to it are busy".to_owned(),
        other => other.to_string(),
    };
    StoreError::Unavailable(format!("the store failed: {}", text.replace(['\n', '\r'], " ")))
}

/// Rows of a page to read: one more than asked for, which tells whether another page follows.
fn page_size(limit: u32) -> (usize, i64) {
    let limit = limit.clamp(1, PAGE_MAX);
    (limit as usize, i64::from(limit) + 1)
}

/// Cuts the extra row off and makes the cursor of the last one that stays.
fn page<T>(mut data: Vec<T>, size: usize, cursor_of: impl Fn(&T) -> String) -> Page<T> {
    let more = data.len() > size;
    data.truncate(size);
    let next_cursor = if more { data.last().map(cursor_of) } else { None };
    Page { data, next_cursor }
}

/// A 400 for a cursor that this list never gave out.
fn bad_cursor() -> StoreError {
    Error::invalid("This cursor is not one that this list gave out. Leave it out to begin anew.", "cursor")
        .into()
}

/// A column of a row, as the type asked for.
fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(name).map_err(unavailable)
}

/// A count that was stored as `i64`.
fn count<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}

/// A list of strings as JSON.
fn list_json(list: &[String]) -> String {
    serde_json::Value::from(list.to_vec()).to_string()
}

/// A list of strings from JSON.
fn json_list(text: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text)
        .map_err(|_| StoreError::Unavailable("the store holds a list that cannot be read".to_owned()))
}

/// Tags as a JSON list of `name=value`; no name holds a `=`.
fn tags_json(tags: &[(String, String)]) -> String {
    let list: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    list_json(&list)
}

/// The reverse of [`tags_json`].
fn json_tags(text: &str) -> Result<Vec<(String, String)>, StoreError> {
    let split = |tag: String| {
        let (name, value) = tag.split_once('=').unwrap_or((&tag, ""));
        (name.to_owned(), value.to_owned())
    };
    Ok(json_list(text)?.into_iter().map(split).collect())
}
