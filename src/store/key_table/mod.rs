//! Keys and groups in memory: what the hot path asks instead of the store, shared by all cells.
//!
//! The table follows the store by revision: at start it reads everything, then only what changed, every second, at
//! once after a change made by this process, and at once when another one says that it made one. There is one way in,
//! [`KeyTable::refresh`], and it
//! runs one at a time, so that an older state can never overwrite a newer one. While the store does not answer,
//! the last known keys stay in force.
//!
//! Invariants: a text that is no known key never causes a query; known and unknown keys cost the same work
//! (one digest, one look-up, one comparison in constant time); what a key or group has used and spent outlives every
//! refresh, and its purse outlives even its end while calls still hold it.

mod groups;
mod holders;
mod member;
mod seed;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::group::{GroupKind, GroupRecord, tags_of};
use super::key::{self, Digest};
use super::rows::{KeyRecord, Payer};
use super::spec::{Handling, ModelRules};
use super::{Store, StoreError};
use crate::error::Error;
use crate::money::Markup;
use crate::policy::budget::{Budget, Calendar, Purse};
use crate::policy::quota::{KeyQuota, Limits};
use crate::receipt::Caller;
use crate::request_log::Logged;
use groups::TagIndex;
pub use groups::{GroupEntry, Groups};
pub use holders::Holder;
pub use member::Member;
pub use seed::PurseOf;

/// Rows read from the store at a time.
const REFRESH_ROWS: u32 = 1000;
/// How often [`KeyTable::poll`] looks for changes made elsewhere.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Who is told of budgets.
pub type BudgetFollower = Box<dyn Fn(&Payer, &Arc<Purse>) + Send + Sync>;

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
    /// What it is charged on top of the provider's price; `None`: as its project says.
    pub markup: Option<Markup>,
    /// Its limits and what is used of them.
    pub quota: Arc<KeyQuota>,
    /// Its budget and what is spent of it.
    pub purse: Arc<Purse>,
    digest: Digest,
}

/// Changes up to which the table follows the store.
#[derive(Debug, Default)]
struct Followed {
    keys: i64,
    groups: i64,
}

/// All live keys and groups.
pub struct KeyTable {
    calendar: Arc<Calendar>,
    by_digest: DashMap<Digest, Arc<KeyEntry>>,
    /// Key id to the digest it is listed under: a rotated key must leave its old place.
    digests: DashMap<Box<str>, Digest>,
    projects: DashMap<Box<str>, Arc<GroupEntry>>,
    tag_sets: DashMap<Box<str>, Arc<GroupEntry>>,
    /// The sets of tags again, as the hot path finds them.
    index: ArcSwap<TagIndex>,
    /// Some project has bodies of its calls stored.
    logging: AtomicBool,
    /// Purses of those that ended, for when they come back while calls still settle into them.
    ended: Mutex<HashMap<Payer, Weak<Purse>>>,
    followed: tokio::sync::Mutex<Followed>,
    /// Who is told of budgets that begin, change or end.
    follower: OnceLock<BudgetFollower>,
    /// A change was made by this process.
    changed: tokio::sync::Notify,
}

impl KeyTable {
    /// An empty table: nobody is let in before the first [`KeyTable::refresh`]. Budgets follow this calendar.
    pub fn new(calendar: Arc<Calendar>) -> Self {
        Self {
            calendar,
            by_digest: DashMap::new(),
            digests: DashMap::new(),
            projects: DashMap::new(),
            tag_sets: DashMap::new(),
            index: ArcSwap::default(),
            logging: AtomicBool::new(false),
            ended: Mutex::default(),
            followed: tokio::sync::Mutex::default(),
            follower: OnceLock::new(),
            changed: tokio::sync::Notify::new(),
        }
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

    /// Which bodies of a call with this key are stored; `default` for keys without a project. Where no project stores any
    /// it is not looked up.
    pub fn logged(&self, key: &KeyEntry, default: Logged) -> Logged {
        match &key.caller.project {
            None => default,
            Some(_) if !self.logging.load(Ordering::Relaxed) => Logged::Off,
            Some(project) => self.projects.get(&**project).map_or(Logged::Off, |entry| entry.request_log),
        }
    }

    /// The live group of this name.
    pub fn group(&self, kind: GroupKind, name: &str) -> Option<Arc<GroupEntry>> {
        self.entries(kind).get(name).map(|entry| Arc::clone(&entry))
    }

    /// The groups that a call of `key` with these tags belongs to. A set of tags has it when each of its tags is the
    /// call's or the key's own, so that nobody leaves a set by overriding a tag.
    pub fn belongs(&self, key: &KeyEntry, tags: &[(String, String)]) -> Groups {
        let project = key.caller.project.as_deref().and_then(|name| self.group(GroupKind::Project, name));
        Groups { project, tag_sets: self.index.load().matching(tags, &key.tags) }
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
        let mut followed = self.followed.lock().await;
        loop {
            let keys = store.keys_changed_since(followed.keys, REFRESH_ROWS).await?;
            // After the keys were read and before they count: no key is let in without the limits of its project.
            self.refresh_groups(store, &mut followed.groups).await?;
            let Some(last) = keys.last().map(|record| record.revision) else { return Ok(()) };
            let now_ms = now_ms();
            for record in keys {
                self.apply(record, now_ms);
            }
            followed.keys = last;
        }
    }

    async fn refresh_groups(&self, store: &dyn Store, followed: &mut i64) -> Result<(), StoreError> {
        let mut changed_tags = false;
        let result = loop {
            let changed = match store.groups_changed_since(*followed, REFRESH_ROWS).await {
                Ok(changed) => changed,
                Err(error) => break Err(error),
            };
            let Some(last) = changed.last().map(|record| record.revision) else { break Ok(()) };
            let now_ms = now_ms();
            for record in changed {
                changed_tags |= record.kind == GroupKind::Tags;
                self.apply_group(record, now_ms);
            }
            *followed = last;
        };
        let logs = |project: &GroupEntry| project.request_log != Logged::Off;
        self.logging.store(self.projects.iter().any(|project| logs(&project)), Ordering::Relaxed);
        if changed_tags {
            let mut sets: Vec<_> = self.tag_sets.iter().map(|entry| Arc::clone(&entry)).collect();
            sets.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            self.index.store(Arc::new(TagIndex::of(&sets)));
        }
        result
    }

    /// Tells `follower` of every budget there is, and from here on of each that begins, changes or ends, before a call
    /// can use it. The first one counts.
    pub fn follow_budgets(&self, follower: BudgetFollower) {
        self.purses().iter().for_each(|of| follower(&of.payer, &of.purse));
        let _ = self.follower.set(follower);
    }

    /// Puts a budget in force, or takes it away.
    fn budget(&self, payer: &Payer, purse: &Arc<Purse>, budget: Option<Budget>, now_ms: i64) {
        purse.set(budget, now_ms);
        if let Some(follower) = self.follower.get() {
            follower(payer, purse);
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

    /// Refreshes and seeds for ever, and at once whenever `heard` counts up: keys have changed elsewhere. Failures are
    /// logged when they begin and when they end, not every time. `settled_before_ms`: as for [`KeyTable::seed`], at the
    /// time when it is asked.
    pub async fn poll(
        &self,
        store: &dyn Store,
        every: Duration,
        mut heard: watch::Receiver<u64>,
        settled_before_ms: impl Fn() -> i64,
    ) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                // Nobody is left to say it: the poll goes on.
                () = async { if heard.changed().await.is_err() { std::future::pending().await } } => {}
            }
            match self.refresh_and_seed(store, settled_before_ms()).await {
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

    /// [`KeyTable::refresh`], then [`KeyTable::seed`].
    ///
    /// # Errors
    /// As those two.
    pub async fn refresh_and_seed(
        &self,
        store: &dyn Store,
        settled_before_ms: i64,
    ) -> Result<(), StoreError> {
        self.refresh(store).await?;
        self.seed(store, settled_before_ms).await
    }

    fn apply(&self, record: KeyRecord, now_ms: i64) {
        let id = record.id.as_str();
        let old_digest = self.digests.get(id).map(|digest| *digest);
        let old = old_digest.and_then(|digest| self.by_digest.get(&digest).map(|entry| Arc::clone(&entry)));
        // A text may have gone over to another key, which is listed under it by now.
        let old = old.filter(|old| &*old.caller.key_id == id);
        let dead = record.revoked_ms.is_some();
        if let Some(digest) = old_digest.filter(|digest| dead || *digest != record.digest) {
            self.by_digest.remove_if(&digest, |_, entry| &*entry.caller.key_id == id);
        }
        if dead {
            self.digests.remove(id);
            if let Some(old) = old {
                self.end(Payer::Key(record.id), &old.purse, now_ms);
            }
            return;
        }
        let payer = || Payer::Key(record.id.clone());
        let purse = self.purse(old.as_ref().map(|old| &old.purse), payer, "this key");
        self.budget(&payer(), &purse, record.spec.budget.clone(), now_ms);
        let quota = quota(old.as_ref().map(|old| &old.quota), record.spec.limits);
        self.digests.insert(id.into(), record.digest);
        self.by_digest.insert(record.digest, Arc::new(entry(record, purse, quota)));
    }

    fn apply_group(&self, record: GroupRecord, now_ms: i64) {
        let entries = self.entries(record.kind);
        let payer = || Payer::Group(record.kind, record.name.clone());
        if record.deleted_ms.is_some() {
            if let Some((_, old)) = entries.remove(record.name.as_str()) {
                self.end(payer(), &old.purse, now_ms);
            }
            return;
        }
        let old = self.group(record.kind, &record.name);
        let (owner, tags) = match record.kind {
            GroupKind::Project => (format!("the project `{}`", record.name), Vec::new()),
            GroupKind::Tags => (format!("the tags `{}`", record.name), tags_of(&record.name)),
        };
        let purse = self.purse(old.as_ref().map(|old| &old.purse), payer, &owner);
        self.budget(&payer(), &purse, record.spec.budget, now_ms);
        let entry = GroupEntry {
            kind: record.kind,
            name: record.name.as_str().into(),
            tags: tags.into(),
            models: record.spec.models,
            expires_ms: record.spec.expires_ms,
            markup: record.spec.markup,
            request_log: record.spec.request_log,
            quota: quota(old.as_ref().map(|old| &old.quota), record.spec.limits),
            purse,
        };
        entries.insert(record.name.into(), Arc::new(entry));
    }

    fn entries(&self, kind: GroupKind) -> &DashMap<Box<str>, Arc<GroupEntry>> {
        match kind {
            GroupKind::Project => &self.projects,
            GroupKind::Tags => &self.tag_sets,
        }
    }

    /// The purse that this payer has, had when it ended, or gets now.
    fn purse(&self, old: Option<&Arc<Purse>>, payer: impl Fn() -> Payer, owner: &str) -> Arc<Purse> {
        let ended = || {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            // Most of the time nobody has ended, and then nothing is made only to be looked for.
            if ended.is_empty() { None } else { ended.remove(&payer())?.upgrade() }
        };
        old.map(Arc::clone)
            .or_else(ended)
            .unwrap_or_else(|| Purse::new(owner.into(), Arc::clone(&self.calendar)))
    }

    /// Keeps a purse in sight while calls hold it.
    fn end(&self, payer: Payer, purse: &Arc<Purse>, now_ms: i64) {
        self.budget(&payer, purse, None, now_ms);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, purse| purse.strong_count() > 0);
        ended.insert(payer, Arc::downgrade(purse));
    }
}

/// The quota of `old` under these limits: what is used so far goes over.
fn quota(old: Option<&Arc<KeyQuota>>, limits: Limits) -> Arc<KeyQuota> {
    match old {
        Some(old) if old.limits() == limits => Arc::clone(old),
        Some(old) => Arc::new(old.with_limits(limits)),
        None => Arc::new(KeyQuota::new(limits, Instant::now())),
    }
}

/// The entry of a record.
fn entry(record: KeyRecord, purse: Arc<Purse>, quota: Arc<KeyQuota>) -> KeyEntry {
    KeyEntry {
        caller: Caller { key_id: record.id.into(), project: record.spec.project.map(Into::into) },
        name: record.spec.name,
        prefix: record.prefix,
        models: record.spec.models,
        expires_ms: record.spec.expires_ms,
        handling: record.spec.handling,
        tags: record.spec.tags.into(),
        markup: record.spec.markup,
        quota,
        purse,
        digest: record.digest,
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
