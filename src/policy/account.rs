//! What all cells share of a provider: its gate, its credentials, the health of its models.
//!
//! Accounts outlive a reload: a provider that is still there keeps what is known of it.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use dashmap::DashMap;

use super::admission::Gate;
use super::health::TargetHealth;
use super::pool::Pool;
use super::retry::{Budget, Floor};
use crate::config::Provider;

/// Models of one provider whose health is kept apart at most; the others share one.
const TARGETS_MAX: usize = 4096;

/// One provider, over all cells.
#[derive(Debug)]
pub struct Account {
    /// Provider id.
    pub id: Arc<str>,
    /// How many attempts it gets at a time.
    pub gate: Arc<Gate>,
    /// Further attempts that it takes whatever the budget says.
    pub floor: Floor,
    pool: ArcSwap<Pool>,
    targets: DashMap<Arc<str>, Arc<TargetHealth>>,
    /// Of models that the catalogue does not know: callers make their names up.
    others: Arc<TargetHealth>,
}

impl Account {
    /// That of a row.
    pub fn new(provider: &Provider, origin: Instant) -> Self {
        Self {
            id: Arc::clone(&provider.id),
            gate: Arc::default(),
            floor: Floor::default(),
            pool: ArcSwap::from_pointee(Pool::new(provider, origin)),
            targets: DashMap::new(),
            others: Arc::default(),
        }
    }

    /// Its credentials.
    pub fn pool(&self) -> Arc<Pool> {
        self.pool.load_full()
    }

    /// The health of a model that the catalogue knows.
    pub fn target(&self, upstream: &Arc<str>) -> Arc<TargetHealth> {
        if let Some(known) = self.targets.get(upstream) {
            return Arc::clone(&known);
        }
        if self.targets.len() >= TARGETS_MAX {
            return Arc::clone(&self.others);
        }
        Arc::clone(&self.targets.entry(Arc::clone(upstream)).or_default())
    }

    /// The health of models that the catalogue does not know.
    pub fn others(&self) -> Arc<TargetHealth> {
        Arc::clone(&self.others)
    }

    /// Models with a health of their own: name and health.
    pub fn targets(&self) -> Vec<(Arc<str>, Arc<TargetHealth>)> {
        self.targets.iter().map(|entry| (Arc::clone(entry.key()), Arc::clone(entry.value()))).collect()
    }
}

/// All accounts, and the budget that they share.
#[derive(Debug, Default)]
pub struct Accounts {
    by_id: DashMap<Arc<str>, Arc<Account>>,
    /// What is left for further attempts.
    pub budget: Budget,
}

impl Accounts {
    /// The account of a row: the one there is, or a new one.
    pub fn of(&self, provider: &Provider, now: Instant) -> Arc<Account> {
        let entry = self.by_id.entry(Arc::clone(&provider.id));
        Arc::clone(&entry.or_insert_with(|| Arc::new(Account::new(provider, now))))
    }

    /// After a reload: rows that are gone are forgotten, the others take their new credentials.
    pub fn reloaded<'a>(&self, providers: impl IntoIterator<Item = &'a Arc<Provider>>, now: Instant) {
        let mut ids = Vec::new();
        for provider in providers {
            let account = self.of(provider, now);
            account.pool.store(Arc::new(account.pool.load_full().reloaded(provider, now)));
            ids.push(Arc::clone(&provider.id));
        }
        self.by_id.retain(|id, _| ids.contains(id));
    }

    /// Every account.
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.by_id.iter().map(|entry| Arc::clone(entry.value())).collect()
    }
}
