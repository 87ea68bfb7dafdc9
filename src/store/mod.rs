//! The store: keys, ledger, usage totals and audit trail, behind one trait.
//!
//! Two stores: an embedded SQLite file for one process, PostgreSQL for several that share it; `open` chooses. What they
//! have in common is in `sql`, each statement once. The hot path never waits for the store: keys are answered by
//! [`KeyTable`] from memory, receipts are settled in batches by Billing.
//!
//! Invariants: a receipt is counted once however often it is settled; every management change leaves an audit
//! row in the same transaction; no key's text is ever stored.

mod budget_json;
mod error;
mod group;
mod group_json;
mod idempotency;
pub mod key;
mod key_json;
mod key_table;
mod open;
mod postgres;
mod request_log;
mod rows;
mod spec;
mod sql;
mod sqlite;
#[cfg(test)]
pub(crate) mod testing;

use futures_util::future::BoxFuture;
use ulid::Ulid;

pub use budget_json::budget_json;
pub use error::StoreError;
pub use group::{
    GROUPS_LIMIT, GroupKind, GroupPatch, GroupRecord, GroupSpec, Managed, check_group, tags_name, tags_of,
};
pub use group_json::group_json;
pub use idempotency::{Claim, Held, Stored};
pub use key_json::{key_json, key_json_with_text};
pub use key_table::{
    BudgetFollower, GroupEntry, Groups, Holder, KeyEntry, KeyTable, Member, POLL_INTERVAL, PurseOf,
};
pub use open::{Migrated, migrate, open, open_patiently};
pub use postgres::PostgresStore;
pub use request_log::LoggedCall;
pub use rows::{
    Alert, AuditRow, Declared, DeclaredKey, GroupBy, GroupValue, KeyRecord, LedgerRow, Page, Payer,
    RequestFilter, TokenCounts, UsageRow,
};
pub use spec::{Handling, KeyPatch, KeySpec, ModelRules, SHARE_MAX};
pub use sqlite::SqliteStore;

use crate::policy::idempotency::Digest;
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

    /// Claims an idempotency key for a request that is about to run, in one step that no other claim can get between
    /// (a transaction that locks the row, or a single statement). What there is at `claim.now_ms` decides:
    ///
    /// - no row, an answered row with `expires_ms <= now_ms`, or a running row that is the same owner's or has
    ///   `lease_ms <= now_ms`: the row becomes the claim's, running, with its token, and the answer is [`Held::Mine`].
    ///   The same owner's is taken over because a process leads a key once at a time: it has given the older claim up.
    /// - another fingerprint in a row that is in force: [`Held::Other`], whatever its state.
    /// - the same fingerprint: [`Held::Running`], [`Held::Done`] with the answer and its `expires_ms`, or [`Held::NotKept`].
    ///
    /// Nothing is changed but for [`Held::Mine`]. `expires_ms` of a running row is its `deadline_ms`.
    fn claim_answer<'a>(&'a self, _claim: &'a Claim) -> StoreFuture<'a, Held> {
        Box::pin(async { Err(not_built()) })
    }

    /// What [`Store::claim_answer`] would say at `now_ms` to another owner, without claiming: `None` where it would say
    /// [`Held::Mine`]. Asked several times a second by whoever waits: a read, without a lock.
    fn fetch_answer(
        &self,
        _name: Digest,
        _fingerprint: Digest,
        _now_ms: i64,
    ) -> StoreFuture<'_, Option<Held>> {
        Box::pin(async { Err(not_built()) })
    }

    /// Puts the answer into the running row of this name and token, until `expires_ms`; `None`: it is answered and
    /// too large to keep. False, and nothing done, when there is no such row: the claim ran out, and another has it.
    fn finish_answer(
        &self,
        _name: Digest,
        _token: Ulid,
        _answer: Option<Stored>,
        _expires_ms: i64,
    ) -> StoreFuture<'_, bool> {
        Box::pin(async { Err(not_built()) })
    }

    /// Removes the running row of this name and token, if there is one.
    fn release_answer(&self, _name: Digest, _token: Ulid) -> StoreFuture<'_, ()> {
        Box::pin(async { Err(not_built()) })
    }

    /// The owner lives: `lease_ms` of its running rows becomes this, at most their `deadline_ms`.
    fn extend_answers<'a>(&'a self, _owner: &'a str, _lease_ms: i64) -> StoreFuture<'a, ()> {
        Box::pin(async { Err(not_built()) })
    }

    /// Removes up to `rows` rows: those with `expires_ms <= now_ms`, then answered ones in the order in which they
    /// expire while the bodies of all rows are more than `bytes_max` together. Gives how many; fewer than `rows` says
    /// that nothing is left to do. Safe to call on several replicas at once.
    fn purge_answers(&self, _now_ms: i64, _bytes_max: u64, _rows: u32) -> StoreFuture<'_, u64> {
        Box::pin(async { Err(not_built()) })
    }

    /// Stores bodies of calls, each call once; what is there stays.
    fn log_calls<'a>(&'a self, _calls: &'a [LoggedCall]) -> StoreFuture<'a, ()> {
        Box::pin(async { Err(not_built()) })
    }

    /// Ids of the calls with stored bodies that are meant by `id`, an `x-request-id` or the id of a call, and when they
    /// began; newest first, `limit` at most.
    fn logged_calls<'a>(&'a self, _id: &'a str, _limit: u32) -> StoreFuture<'a, Vec<(Ulid, i64)>> {
        Box::pin(async { Err(not_built()) })
    }

    /// The stored bodies of one call. That they were read is in the audit trail before they are given.
    fn read_logged(&self, _call_id: Ulid, _by: By) -> StoreFuture<'_, Option<LoggedCall>> {
        Box::pin(async { Err(not_built()) })
    }

    /// Deletes the stored bodies of the calls that are meant by `id`, `limit` of them at most; gives how many.
    fn delete_logged<'a>(&'a self, _id: &'a str, _limit: u32, _by: By) -> StoreFuture<'a, u64> {
        Box::pin(async { Err(not_built()) })
    }

    /// Removes up to `rows` calls: those that began before `before_ms`, and the oldest while the bodies of all are more
    /// than `bytes_max` together. Gives how many; fewer than `rows` says that nothing is left to do. Safe to call on
    /// several replicas at once.
    fn purge_logged(&self, _before_ms: i64, _bytes_max: u64, _rows: u32) -> StoreFuture<'_, u64> {
        Box::pin(async { Err(not_built()) })
    }

    /// The audit trail. `Refused` when the cursor is none of ours.
    fn audit<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<AuditRow>>;

    /// Closes every connection, after what is running has ended.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a method answers that a store does not have.
fn not_built() -> StoreError {
    StoreError::Unusable("this store does not have that".to_owned())
}
