//! The store: keys, ledger, usage totals and audit trail, behind one trait.
//!
//! Why a trait: the gateway ships an embedded SQLite store and is to take a PostgreSQL one beside it. The hot
//! path never waits for the store: keys are answered by [`KeyTable`] from memory, receipts are settled in
//! batches by Billing.
//!
//! Invariants: a receipt is counted once however often it is settled; every management change leaves an audit
//! row in the same transaction; no key's text is ever stored.

mod budget_json;
mod error;
mod group;
mod group_json;
pub mod key;
mod key_json;
mod key_table;
mod rows;
mod spec;
mod sqlite;
#[cfg(test)]
pub(crate) mod testing;

use futures_util::future::BoxFuture;

pub use budget_json::budget_json;
pub use error::StoreError;
pub use group::{
    GROUPS_LIMIT, GroupKind, GroupPatch, GroupRecord, GroupSpec, Managed, check_group, tags_name, tags_of,
};
pub use group_json::group_json;
pub use key_json::{key_json, key_json_with_text};
pub use key_table::{GroupEntry, Groups, KeyEntry, KeyTable, POLL_INTERVAL, PurseOf};
pub use rows::{
    Alert, AuditRow, Declared, DeclaredKey, GroupBy, GroupValue, KeyRecord, LedgerRow, Page, Payer,
    RequestFilter, TokenCounts, UsageRow,
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

    /// Makes a group. `Refused` when there is one of this kind and name, or the specification is out of bounds.
    fn create_group(
        &self,
        _kind: GroupKind,
        _name: String,
        _spec: GroupSpec,
        _by: By,
    ) -> StoreFuture<'_, GroupRecord> {
        Box::pin(async { Err(not_built()) })
    }

    /// One group. `Refused(NotFound)` when there is none.
    fn group<'a>(&'a self, _kind: GroupKind, _name: &'a str) -> StoreFuture<'a, GroupRecord> {
        Box::pin(async { Err(not_built()) })
    }

    /// Groups of a kind by name, deleted ones not included.
    fn groups<'a>(
        &'a self,
        _kind: GroupKind,
        _cursor: Option<&'a str>,
        _limit: u32,
    ) -> StoreFuture<'a, Page<GroupRecord>> {
        Box::pin(async { Err(not_built()) })
    }

    /// Changes a group. `Refused` when there is none, the configuration declares it, or the change is out of bounds.
    fn update_group<'a>(
        &'a self,
        _kind: GroupKind,
        _name: &'a str,
        _patch: GroupPatch,
        _by: By,
    ) -> StoreFuture<'a, GroupRecord> {
        Box::pin(async { Err(not_built()) })
    }

    /// Deletes a group: its limits end, its ledger rows stay. `Refused` when there is none, the configuration declares
    /// it, or it is a project that live keys belong to.
    fn delete_group<'a>(&'a self, _kind: GroupKind, _name: &'a str, _by: By) -> StoreFuture<'a, GroupRecord> {
        Box::pin(async { Err(not_built()) })
    }

    /// Groups changed after `revision`, in order of change, `limit` at most; deleted ones included. Keys and groups
    /// count their revisions together.
    fn groups_changed_since(&self, _revision: i64, _limit: u32) -> StoreFuture<'_, Vec<GroupRecord>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Makes the keys and groups that the configuration declares what it says, and ends those that it declared before
    /// and does not any more; what did not change gets no revision and no audit row. `Refused` when one has the name
    /// of a group that operators made.
    fn declare(&self, _declared: Declared, _by: By) -> StoreFuture<'_, ()> {
        Box::pin(async { Err(not_built()) })
    }

    /// What was charged to `payer` from `from_ms` to before `to_ms`, in units of 1e-12 USD.
    fn charged<'a>(&'a self, _payer: &'a Payer, _from_ms: i64, _to_ms: i64) -> StoreFuture<'a, i128> {
        Box::pin(async { Err(not_built()) })
    }

    /// Notes that a threshold was passed; true the first time, whichever replica asks.
    fn note_alert(&self, _alert: Alert, _now_ms: i64) -> StoreFuture<'_, bool> {
        Box::pin(async { Err(not_built()) })
    }

    /// The audit trail. `Refused` when the cursor is none of ours.
    fn audit<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<AuditRow>>;
}

/// What a method answers that a store does not have.
fn not_built() -> StoreError {
    StoreError::Unusable("this store does not have that".to_owned())
}
