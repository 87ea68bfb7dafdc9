//! The store: keys, ledger, usage totals and audit trail, behind one trait.
//!
//! Two stores: an embedded SQLite file for one process, PostgreSQL for several that share it; `open` chooses. What they
//! have in common is in `sql`, each statement once. The hot path never waits for the store: keys are answered by
//! [`KeyTable`] from memory, receipts are settled in batches by Billing.
//!
//! Invariants: a receipt is counted once however often it is settled; every management change leaves an audit
//! row in the same transaction; no key's text is ever stored.

mod error;
pub mod key;
mod key_json;
mod key_table;
mod open;
mod postgres;
mod rows;
mod spec;
mod sql;
mod sqlite;
#[cfg(test)]
pub(crate) mod testing;

use futures_util::future::BoxFuture;

pub use error::StoreError;
pub use key_json::{key_json, key_json_with_text};
pub use key_table::{KeyEntry, KeyTable, POLL_INTERVAL};
pub use open::{Migrated, migrate, open, open_patiently};
pub use postgres::PostgresStore;
pub use rows::{
    AuditRow, GroupBy, GroupValue, KeyRecord, LedgerRow, Page, RequestFilter, TokenCounts, UsageRow,
};
pub use spec::{Handling, KeyPatch, KeySpec, ModelRules, SHARE_MAX};
pub use sqlite::SqliteStore;

use crate::receipt::Receipt;
use key::FreshKey;

/// Rows of one page at most.
pub const PAGE_MAX: u32 = 1000;
/// Rows of one page when nobody says how many.
pub const PAGE_DEFAULT: u32 = 100;
/// Live keys at most: all of them are held in memory.
pub const KEYS_MAX: i64 = 100_000;
/// Groups in one usage answer at most.
pub const GROUPS_MAX: usize = 10_000;

/// Who makes a change, and when. The store asks no clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// `admin@<address>` or `cli`.
    pub actor: String,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

/// What a store's method answers.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A store of keys, ledger, usage and audit.
///
/// Every method fails with [`StoreError::Unavailable`] when the store does not answer; further errors are named
/// at the method. Lists are newest first; a `limit` above [`PAGE_MAX`] is taken as that.
pub trait Store: Send + Sync {
    /// Books receipts: in one transaction, each at most once whatever was settled before, totals included.
    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> StoreFuture<'a, ()>;

    /// Makes a key. `Refused` when the specification is out of bounds or there are too many keys.
    fn create_key(&self, spec: KeySpec, by: By) -> StoreFuture<'_, (KeyRecord, FreshKey)>;

    /// One key. `Refused(NotFound)` when there is none.
    fn key<'a>(&'a self, id: &'a str) -> StoreFuture<'a, KeyRecord>;

    /// Keys, revoked ones included.
    fn keys<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<KeyRecord>>;

    /// Changes a key. `Refused` when there is none, it is revoked, or the change is out of bounds.
    fn update_key<'a>(&'a self, id: &'a str, patch: KeyPatch, by: By) -> StoreFuture<'a, KeyRecord>;

    /// Revokes a key for good; once more changes nothing. `Refused(NotFound)` when there is none.
    fn revoke_key<'a>(&'a self, id: &'a str, by: By) -> StoreFuture<'a, KeyRecord>;

    /// Gives a key a new text; the old one ends at once. `Refused` when there is none or it is revoked.
    fn rotate_key<'a>(&'a self, id: &'a str, by: By) -> StoreFuture<'a, (KeyRecord, FreshKey)>;

    /// Keys changed after `revision`, in order of change, `limit` at most.
    fn keys_changed_since(&self, revision: i64, limit: u32) -> StoreFuture<'_, Vec<KeyRecord>>;

    /// Ledger rows. `Refused` when the cursor is none of ours.
    fn requests<'a>(
        &'a self,
        filter: &'a RequestFilter,
        cursor: Option<&'a str>,
        limit: u32,
    ) -> StoreFuture<'a, Page<LedgerRow>>;

    /// Totals of the rows with `from_ms <= time < to_ms`, one per group; without groups one in all. `Refused`
    /// when there are more than [`GROUPS_MAX`] groups.
    fn usage<'a>(&'a self, from_ms: i64, to_ms: i64, groups: &'a [GroupBy])
    -> StoreFuture<'a, Vec<UsageRow>>;

    /// The audit trail. `Refused` when the cursor is none of ours.
    fn audit<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<AuditRow>>;

    /// Closes every connection, after what is running has ended.
    fn close(&self) -> BoxFuture<'_, ()>;
}
