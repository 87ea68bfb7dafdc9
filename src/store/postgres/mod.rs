//! The store for several processes: PostgreSQL.
//!
//! Changes of keys hold the lock of the row `revision` from their start, so that revisions appear in their order and a
//! replica that polls misses none. Every wait has a deadline, on this side (a server that hangs) and on the server's
//! (a client that is gone). A connection that did not answer is closed and not used again.

mod ledger;
mod open;
mod runtime;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::PgPool;
use tokio::time::timeout;

use self::runtime::OwnRuntime;
use super::StoreFuture;
use super::error::StoreError;
use super::open::Migrated;
use super::sql::Backend;
use super::sql::query::{Query, Row, Tx};
use crate::config::DatabaseSettings;
use crate::receipt::Receipt;

/// How long a method of the store may take in all.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long closing may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// The store in PostgreSQL. Cheap to clone: pool and runtime are shared.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
    runtime: Arc<OwnRuntime>,
}

impl PostgresStore {
    /// Opens the store and brings its schema up to date, or refuses an old one where `database.migrate` is false.
    ///
    /// # Errors
    /// One line, without the address's credentials: [`StoreError::Unavailable`] when the server cannot be reached,
    /// which may pass; [`StoreError::Unusable`] when it refuses, or its schema is not for this binary.
    pub async fn open(database: &DatabaseSettings) -> Result<(Self, Migrated), StoreError> {
        let runtime = Arc::new(OwnRuntime::start()?);
        let (pool, migrated) = runtime.run(Box::pin(open::open(database))).await?;
        Ok((Self { pool, runtime }, migrated))
    }
}

impl Backend for PostgresStore {
    fn each_tag(&self) -> &'static str {
        " LEFT JOIN LATERAL json_array_elements_text(ledger.tags::json) AS tag (value) ON true"
    }

    fn begin(&self) -> BoxFuture<'_, Result<Tx, StoreError>> {
        Box::pin(async {
            let mut tx = Tx::Postgres(self.pool.begin().await.map_err(unavailable)?);
            tx.run(Query::new("SELECT latest FROM revision FOR UPDATE")).await?;
            Ok(tx)
        })
    }

    fn read(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(query.in_postgres(&self.pool))
    }

    fn write(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(query.in_postgres(&self.pool))
    }

    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(ledger::settle(self, receipts))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let closed = self.within(async {
            // A server that hangs is left to find out by itself.
            let _ = timeout(CLOSE_DEADLINE, self.pool.close()).await;
            Ok(())
        });
        Box::pin(async { drop(closed.await) })
    }

    fn within<'a, T: Send + 'a>(
        &'a self,
        method: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let method = Box::pin(async move {
            timeout(ANSWER_DEADLINE, method).await.unwrap_or_else(|_| {
                let text = format!("the store failed: no answer within {ANSWER_DEADLINE:?}");
                Err(StoreError::Unavailable(text))
            })
        });
        Box::pin(self.runtime.run(method))
    }
}

/// A failure of PostgreSQL as the operator reads it: one line, without bound values.
pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(format!("the store failed: {}", open::words(&error)))
}
