//! What Billing needs of a store: one method, so that it can be tested against a store that fails on demand.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::receipt::Receipt;
use crate::store::Store;

/// Books receipts.
pub trait Ledger: Send + Sync {
    /// Books receipts in one transaction, each at most once however often it is offered. On failure none counts
    /// as booked, and all are offered again.
    ///
    /// # Errors
    /// One line for the operator's log: why the store did not do it.
    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), String>>;
}

impl Ledger for Arc<dyn Store> {
    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), String>> {
        let settle = self.as_ref().settle(receipts);
        Box::pin(async move { settle.await.map_err(|error| error.to_string()) })
    }
}
