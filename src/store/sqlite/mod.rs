//! The embedded store: one SQLite file in the data folder.
//!
//! One writer connection, because SQLite has one writer anyway and a queue in this process is fairer than the
//! lock; a few readers beside it, which WAL mode lets run meanwhile. Another process (the command line) may have
//! the file open too: writes begin with the write lock and wait for it.
//!
//! A killed process loses nothing that was committed. A loss of power costs nothing that was settled, since the journal lets go
//! of it (`synchronous = FULL`), and the commits after the last settlement (`NORMAL`).

mod ledger;
mod open;
#[cfg(test)]
mod tests;

use std::path::Path;

use futures_util::future::BoxFuture;
use sqlx::sqlite::Sqlite;
use sqlx::{SqlitePool, Transaction};

use super::StoreFuture;
use super::error::StoreError;
use super::open::Migrated;
use super::sql::Backend;
use super::sql::query::{Query, Row, Tx};
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
        Self::open_with(folder, true).await.map(|(store, _)| store)
    }

    /// As [`SqliteStore::open`]; an old schema is refused unless `migrate` is true. Tells what it was.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with(folder: &Path, migrate: bool) -> Result<(Self, Migrated), StoreError> {
        let (writer, readers, migrated) = open::open(folder, migrate).await?;
        Ok((Self { writer, readers }, migrated))
    }

    /// Begins a transaction that holds the write lock from its start, so that it cannot fail half-way for it.
    async fn transaction(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)
    }
}

impl Backend for SqliteStore {
    fn each_tag(&self) -> &'static str {
        " LEFT JOIN json_each(ledger.tags) AS tag ON true"
    }

    fn begin(&self) -> BoxFuture<'_, Result<Tx, StoreError>> {
        Box::pin(async { self.transaction().await.map(Tx::Sqlite) })
    }

    fn read(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(query.in_sqlite(&self.readers))
    }

    fn write(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(query.in_sqlite(&self.writer))
    }

    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(ledger::settle(self, receipts))
    }

    /// After what is running has ended. The write-ahead log is folded into the file.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            self.writer.close().await;
        })
    }

    fn within<'a, T: Send + 'a>(
        &'a self,
        method: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(method)
    }
}

/// A failure of SQLite as the operator reads it: one line, without bound values.
pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    let text = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "all connections to it are busy".to_owned(),
        other => other.to_string(),
    };
    StoreError::Unavailable(format!("the store failed: {}", text.replace(['\n', '\r'], " ")))
}
