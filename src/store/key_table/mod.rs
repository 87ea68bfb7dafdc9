//! The keys in memory: what the hot path asks instead of the store, shared by all cells.
//!
//! The table follows the store by revision: at start it reads every key, then only what changed, every two
//! seconds, at once after a change made by this process, and at once when another one says that it made one. There is one way in, [`KeyTable::refresh`], and it
//! runs one at a time, so that an older state can never overwrite a newer one. While the store does not answer,
//! the last known keys stay in force.
//!
//! Invariants: a text that is no known key never causes a query; known and unknown keys cost the same work
//! (one digest, one look-up, one comparison in constant time); a key's quota outlives every refresh.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::key::{self, Digest};
use super::rows::KeyRecord;
use super::spec::{Handling, ModelRules};
use super::{Store, StoreError};
use crate::error::Error;
use crate::policy::quota::KeyQuota;
use crate::receipt::Caller;
use crate::wire::quirks::glob_matches;

/// Keys read from the store at a time.
const REFRESH_ROWS: u32 = 1000;
/// How often [`KeyTable::poll`] looks for changes made elsewhere.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// A live key as the hot path sees it.
#[derive(Debug)]
pub struct KeyEntry {
    /// Who calls with it.
    pub caller: Caller,
    /// What people call it.
    pub name: String,
    /// The first 8 characters of its text.
    pub prefix: String,
    /// Models it may use.
    pub models: ModelRules,
    /// When it ends, milliseconds since the epoch.
    pub expires_ms: Option<i64>,
    /// How its calls are handled.
    pub handling: Handling,
    /// Tags put on every ledger row of it.
    pub tags: Arc<[(String, String)]>,
    /// Its limits and what is used of them.
    pub quota: Arc<KeyQuota>,
    digest: Digest,
}

impl KeyEntry {
    /// True when the key may use this model of this provider.
    pub fn may_use(&self, canonical: &str, provider: &str) -> bool {
        let full = format!("{provider}/{canonical}");
        let any = |patterns: &[String]| {
            patterns.iter().any(|pattern| glob_matches(pattern, canonical) || glob_matches(pattern, &full))
        };
        !any(&self.models.deny) && (self.models.allow.is_empty() || any(&self.models.allow))
    }
}

/// All live keys.
#[derive(Debug, Default)]
pub struct KeyTable {
    by_digest: DashMap<Digest, Arc<KeyEntry>>,
    /// Key id to the digest it is listed under: a rotated key must leave its old place.
    digests: DashMap<Box<str>, Digest>,
    /// Revision up to which the table follows the store.
    revision: tokio::sync::Mutex<i64>,
    /// A change was made by this process.
    changed: tokio::sync::Notify,
}

impl KeyTable {
    /// An empty table: nobody is let in before the first [`KeyTable::refresh`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds the key that was presented.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], whether it is malformed, unknown, revoked or expired.
    pub fn authenticate(&self, presented: &str, now_ms: i64) -> Result<Arc<KeyEntry>, Error> {
        let digest = key::parse(presented).ok_or(Error::InvalidKey)?.digest();
        let found = self.by_digest.get(&digest).map(|entry| Arc::clone(&entry));
        // Compared for unknown keys too, with zeros, so that they take the same time.
        let stored = found.as_ref().map_or([0; 32], |entry| entry.digest);
        let same = bool::from(stored.ct_eq(&digest));
        let live = |entry: &Arc<KeyEntry>| same && entry.expires_ms.is_none_or(|end| now_ms < end);
        found.filter(live).ok_or(Error::InvalidKey)
    }

    /// The live key of this id.
    pub fn find(&self, id: &str, now_ms: i64) -> Option<Arc<KeyEntry>> {
        let digest = *self.digests.get(id)?;
        let found = self.by_digest.get(&digest).map(|entry| Arc::clone(&entry));
        found.filter(|entry| entry.expires_ms.is_none_or(|end| now_ms < end))
    }

    /// Live keys.
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// True when nobody can be let in.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Takes over every change that the store knows.
    ///
    /// # Errors
    /// When the store does not answer; the changes read so far are in force, the others come with the next call.
    pub async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut revision = self.revision.lock().await;
        loop {
            let changed = store.keys_changed_since(*revision, REFRESH_ROWS).await?;
            let Some(last) = changed.last().map(|record| record.revision) else { return Ok(()) };
            for record in changed {
                self.apply(record);
            }
            *revision = last;
        }
    }

    /// Says that this process has changed something in the store.
    pub fn has_changed(&self) {
        self.changed.notify_one();
    }

    /// Waits until [`KeyTable::has_changed`] was called; for one listener.
    pub async fn changed_here(&self) {
        self.changed.notified().await;
    }

    /// Refreshes for ever, and at once whenever `heard` counts up: keys have changed elsewhere. Failures are logged when
    /// they begin and when they end, not every time.
    pub async fn poll(&self, store: &dyn Store, every: Duration, mut heard: watch::Receiver<u64>) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                // Nobody is left to say it: the poll goes on.
                () = async { if heard.changed().await.is_err() { std::future::pending().await } } => {}
            }
            match self.refresh(store).await {
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "keys cannot be refreshed; the last known ones stay in force");
                }
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("keys are refreshed again");
                }
                _ => {}
            }
        }
    }

    fn apply(&self, record: KeyRecord) {
        let old_digest = self.digests.get(record.id.as_str()).map(|digest| *digest);
        let old = old_digest.and_then(|digest| self.by_digest.get(&digest).map(|entry| Arc::clone(&entry)));
        let dead = record.revoked_ms.is_some();
        if let Some(digest) = old_digest.filter(|digest| dead || *digest != record.digest) {
            self.by_digest.remove(&digest);
        }
        if dead {
            self.digests.remove(record.id.as_str());
            return;
        }
        self.digests.insert(record.id.as_str().into(), record.digest);
        self.by_digest.insert(record.digest, Arc::new(entry(record, old.as_deref())));
    }
}

/// The entry of a record; what the key has used so far goes over from its `old` entry.
fn entry(record: KeyRecord, old: Option<&KeyEntry>) -> KeyEntry {
    let limits = record.spec.limits;
    let quota = match old {
        Some(old) if old.quota.limits() == limits => Arc::clone(&old.quota),
        Some(old) => Arc::new(old.quota.with_limits(limits)),
        None => Arc::new(KeyQuota::new(limits, Instant::now())),
    };
    KeyEntry {
        caller: Caller { key_id: record.id.into(), project: record.spec.project.map(Into::into) },
        name: record.spec.name,
        prefix: record.prefix,
        models: record.spec.models,
        expires_ms: record.spec.expires_ms,
        handling: record.spec.handling,
        tags: record.spec.tags.into(),
        quota,
        digest: record.digest,
    }
}
