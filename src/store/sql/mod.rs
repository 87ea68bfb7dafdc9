//! What the two databases share: all of the store but opening, migrating and settlement.
//!
//! The statements are written once, in the SQL that both speak; a [`Backend`] runs them. Columns are named in each:
//! a statement that PostgreSQL prepared for `*` fails once a newer replica has added a column.

mod change;
mod declare;
mod groups;
mod idempotency;
pub mod keys;
pub mod pages;
pub mod query;
pub mod receipts;
mod request_log;
pub mod requests;
mod spending;
pub mod usage;

use futures_util::future::BoxFuture;
use ulid::Ulid;

use super::error::StoreError;
use super::group::{GroupKind, GroupPatch, GroupRecord, GroupSpec};
use super::key::FreshKey;
use super::rows::{
    Alert, AuditRow, Declared, GroupBy, KeyRecord, LedgerRow, Page, Payer, RequestFilter, UsageRow,
};
use super::spec::{KeyPatch, KeySpec};
use super::{By, Claim, Held, LoggedCall, Store, StoreFuture, Stored};
use crate::policy::idempotency::Digest;
use crate::receipt::Receipt;
use query::{Query, Row, Tx};

/// A database that the shared statements run in.
pub trait Backend: Send + Sync {
    /// Joins each tag of a ledger row as `tag.value`; a row without tags stays, with none.
    fn each_tag(&self) -> &'static str;

    /// Begins a change of keys. It holds a lock from its start: changes come one after the other, so that their
    /// revisions appear in order, and none can fail half-way for a lock.
    fn begin(&self) -> BoxFuture<'_, Result<Tx, StoreError>>;

    /// Reads outside of any transaction.
    fn read(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, StoreError>>;

    /// Runs one statement that changes something other than keys and groups, in a transaction of its own and without
    /// their lock.
    fn write(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, StoreError>>;

    /// See [`Store::settle`].
    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// See [`Store::close`].
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Runs a method of the store, within what the database needs around it.
    fn within<'a, T: Send + 'a>(
        &'a self,
        method: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> StoreFuture<'a, T>
    where
        Self: Sized;
}

impl<B: Backend> Store for B {
    fn settle<'a>(&'a self, receipts: &'a [Receipt]) -> StoreFuture<'a, ()> {
        self.within(Backend::settle(self, receipts))
    }

    fn create_key(&self, spec: KeySpec, by: By) -> StoreFuture<'_, (KeyRecord, FreshKey)> {
        self.within(keys::create(self, spec, by))
    }

    fn key<'a>(&'a self, id: &'a str) -> StoreFuture<'a, KeyRecord> {
        self.within(keys::get(self, id))
    }

    fn keys<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<KeyRecord>> {
        self.within(keys::list(self, cursor, limit))
    }

    fn update_key<'a>(&'a self, id: &'a str, patch: KeyPatch, by: By) -> StoreFuture<'a, KeyRecord> {
        self.within(keys::update(self, id, patch, by))
    }

    fn revoke_key<'a>(&'a self, id: &'a str, by: By) -> StoreFuture<'a, KeyRecord> {
        self.within(keys::revoke(self, id, by))
    }

    fn rotate_key<'a>(&'a self, id: &'a str, by: By) -> StoreFuture<'a, (KeyRecord, FreshKey)> {
        self.within(keys::rotate(self, id, by))
    }

    fn keys_changed_since(&self, revision: i64, limit: u32) -> StoreFuture<'_, Vec<KeyRecord>> {
        self.within(keys::changed_since(self, revision, limit))
    }

    fn requests<'a>(
        &'a self,
        filter: &'a RequestFilter,
        cursor: Option<&'a str>,
        limit: u32,
    ) -> StoreFuture<'a, Page<LedgerRow>> {
        self.within(requests::list(self, filter, cursor, limit))
    }

    fn usage<'a>(
        &'a self,
        from_ms: i64,
        to_ms: i64,
        groups: &'a [GroupBy],
    ) -> StoreFuture<'a, Vec<UsageRow>> {
        self.within(usage::totals(self, from_ms, to_ms, groups))
    }

    fn create_group(
        &self,
        kind: GroupKind,
        name: String,
        spec: GroupSpec,
        by: By,
    ) -> StoreFuture<'_, GroupRecord> {
        self.within(groups::create(self, kind, name, spec, by))
    }

    fn group<'a>(&'a self, kind: GroupKind, name: &'a str) -> StoreFuture<'a, GroupRecord> {
        self.within(groups::get(self, kind, name))
    }

    fn groups<'a>(
        &'a self,
        kind: GroupKind,
        cursor: Option<&'a str>,
        limit: u32,
    ) -> StoreFuture<'a, Page<GroupRecord>> {
        self.within(groups::list(self, kind, cursor, limit))
    }

    fn update_group<'a>(
        &'a self,
        kind: GroupKind,
        name: &'a str,
        patch: GroupPatch,
        by: By,
    ) -> StoreFuture<'a, GroupRecord> {
        self.within(groups::update(self, kind, name, patch, by))
    }

    fn delete_group<'a>(&'a self, kind: GroupKind, name: &'a str, by: By) -> StoreFuture<'a, GroupRecord> {
        self.within(groups::delete(self, kind, name, by))
    }

    fn groups_changed_since(&self, revision: i64, limit: u32) -> StoreFuture<'_, Vec<GroupRecord>> {
        self.within(groups::changed_since(self, revision, limit))
    }

    fn declare(&self, declared: Declared, by: By) -> StoreFuture<'_, ()> {
        self.within(declare::declare(self, declared, by))
    }

    fn charged<'a>(&'a self, payer: &'a Payer, from_ms: i64, to_ms: i64) -> StoreFuture<'a, i128> {
        self.within(spending::charged(self, payer, from_ms, to_ms))
    }

    fn note_alert(&self, alert: Alert, now_ms: i64) -> StoreFuture<'_, bool> {
        self.within(spending::note_alert(self, alert, now_ms))
    }

    fn claim_answer<'a>(&'a self, claim: &'a Claim) -> StoreFuture<'a, Held> {
        self.within(idempotency::claim(self, claim))
    }

    fn fetch_answer(&self, name: Digest, fingerprint: Digest, now_ms: i64) -> StoreFuture<'_, Option<Held>> {
        self.within(idempotency::fetch(self, name, fingerprint, now_ms))
    }

    fn finish_answer(
        &self,
        name: Digest,
        token: Ulid,
        answer: Option<Stored>,
        expires_ms: i64,
    ) -> StoreFuture<'_, bool> {
        self.within(idempotency::finish(self, name, token, answer, expires_ms))
    }

    fn release_answer(&self, name: Digest, token: Ulid) -> StoreFuture<'_, ()> {
        self.within(idempotency::release(self, name, token))
    }

    fn extend_answers<'a>(&'a self, owner: &'a str, lease_ms: i64) -> StoreFuture<'a, ()> {
        self.within(idempotency::extend(self, owner, lease_ms))
    }

    fn purge_answers(&self, now_ms: i64, bytes_max: u64, rows: u32) -> StoreFuture<'_, u64> {
        self.within(idempotency::purge(self, now_ms, bytes_max, rows))
    }

    fn log_calls<'a>(&'a self, calls: &'a [LoggedCall]) -> StoreFuture<'a, ()> {
        self.within(request_log::log(self, calls))
    }

    fn logged_calls<'a>(&'a self, id: &'a str, limit: u32) -> StoreFuture<'a, Vec<(Ulid, i64)>> {
        self.within(request_log::ids(self, id, limit))
    }

    fn read_logged(&self, call_id: Ulid, by: By) -> StoreFuture<'_, Option<LoggedCall>> {
        self.within(request_log::read(self, call_id, by))
    }

    fn delete_logged<'a>(&'a self, id: &'a str, limit: u32, by: By) -> StoreFuture<'a, u64> {
        self.within(request_log::delete(self, id, limit, by))
    }

    fn purge_logged(&self, before_ms: i64, bytes_max: u64, rows: u32) -> StoreFuture<'_, u64> {
        self.within(request_log::purge(self, before_ms, bytes_max, rows))
    }

    fn audit<'a>(&'a self, cursor: Option<&'a str>, limit: u32) -> StoreFuture<'a, Page<AuditRow>> {
        self.within(keys::audit_trail(self, cursor, limit))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Backend::close(self)
    }
}
