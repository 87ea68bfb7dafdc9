//! What all cells share of a provider: its gate, its credentials, the health of its models.
//!
//! Accounts outlive a reload: a provider that is still there keeps what is known of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use super::admission::Gate;
use super::health::TargetHealth;
use super::pool::Pool;
use super::retry::{Budget, Floor};
use super::tally::{Failovers, Tally};
use crate::config::{AdmissionRule, Provider};

/// Models of one provider whose health is kept apart at most, known to the catalogue and not; the others share one.
const TARGETS_MAX: usize = 4096;
const STRANGERS_MAX: usize = 256;

type Targets = DashMap<Arc<str>, Arc<TargetHealth>>;

/// One provider, over all cells.
#[derive(Debug)]
pub struct Account {
    in_force: ArcSwap<InForce>,
    /// How many attempts it gets at a time.
    pub gate: Arc<Gate>,
    /// Further attempts that it takes whatever the budget says.
    pub floor: Floor,
    /// What is counted of it.
    pub tally: Tally,
    targets: Targets,
    /// Models that the catalogue does not know: callers make names up, and must not crowd out those that it knows.
    strangers: Targets,
    others: Arc<TargetHealth>,
    /// Probes fail.
    down: Arc<AtomicBool>,
    probes: Mutex<Probes>,
}

/// The row in force, whatever row those who still run began with, and the credentials in its order. One value: nobody
/// sees the one without the other.
#[derive(Debug)]
struct InForce {
    row: Arc<Provider>,
    pool: Arc<Pool>,
}

/// Probes that fail in a row before a provider is down.
const PROBES_FAILED: u32 = 2;

#[derive(Debug, Default)]
struct Probes {
    last: Option<Instant>,
    failed: u32,
}

impl Account {
    /// That of a row.
    pub fn new(provider: &Arc<Provider>, origin: Instant) -> Self {
        let down = Arc::<AtomicBool>::default();
        Self {
            in_force: ArcSwap::from_pointee(InForce {
                row: Arc::clone(provider),
                pool: Arc::new(Pool::new(provider, origin)),
            }),
            gate: Arc::default(),
            floor: Floor::default(),
            tally: Tally::default(),
            targets: DashMap::new(),
            strangers: DashMap::new(),
            others: Arc::new(TargetHealth::probed(&down)),
            down,
            probes: Mutex::default(),
        }
    }

    /// The rule of its gate.
    pub fn admission(&self) -> AdmissionRule {
        self.in_force.load().row.admission
    }

    /// Takes over a row: credentials that are still there keep what is known of them, and what probes of another row said
    /// is forgotten.
    fn reload(&self, provider: &Arc<Provider>, now: Instant) {
        if *self.in_force.load().row == **provider {
            return;
        }
        let pool = self.pool_of(provider, now);
        self.in_force.store(Arc::new(InForce { row: Arc::clone(provider), pool }));
        *self.probes() = Probes::default();
        self.down.store(false, Ordering::Relaxed);
        self.gate.apply(&provider.admission);
    }

    fn probes(&self) -> MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for whoever's turn it is to probe: once in `interval`, over all cells.
    pub fn begin_probe(&self, interval: Duration, now: Instant) -> bool {
        let mut probes = self.probes();
        let due = probes.last.is_none_or(|last| now.saturating_duration_since(last) >= interval);
        if due {
            probes.last = Some(now);
        }
        due
    }

    /// Takes how a probe went; true when the provider went down or came back with it.
    pub fn probed(&self, well: bool) -> bool {
        let mut probes = self.probes();
        probes.failed = if well { 0 } else { probes.failed.saturating_add(1) };
        let down = probes.failed >= PROBES_FAILED;
        self.down.swap(down, Ordering::Relaxed) != down
    }

    /// True while probes fail.
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Its credentials.
    pub fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.in_force.load().pool)
    }

    /// Its credentials in the order of this row, which may not be the one in force: a thread hears of reloads one by one.
    /// What is known of those that both have is shared.
    pub fn pool_of(&self, provider: &Provider, now: Instant) -> Arc<Pool> {
        let in_force = self.in_force.load();
        if *in_force.row == *provider {
            return Arc::clone(&in_force.pool);
        }
        Arc::new(in_force.pool.reloaded(provider, now))
    }

    /// Credentials that can be had now, of how many.
    pub fn usable(&self, upstream: &str, now: Instant) -> (usize, usize) {
        self.in_force.load().pool.usable(upstream, now)
    }

    /// The health of a model that the catalogue knows, by its name upstream.
    pub fn target(&self, upstream: &Arc<str>) -> Arc<TargetHealth> {
        self.health(&self.targets, upstream, TARGETS_MAX)
    }

    /// The health of a model that the catalogue does not know.
    pub fn stranger(&self, upstream: &Arc<str>) -> Arc<TargetHealth> {
        self.health(&self.strangers, upstream, STRANGERS_MAX)
    }

    /// Every model whose health is kept, by its name upstream; those that the catalogue knows first.
    pub fn targets(&self) -> Vec<(Arc<str>, Arc<TargetHealth>)> {
        let strangers = self.strangers.iter().filter(|entry| self.is_stranger(entry.key()));
        self.targets
            .iter()
            .chain(strangers)
            .map(|entry| (Arc::clone(entry.key()), Arc::clone(entry.value())))
            .collect()
    }

    /// True for a model that callers named and the catalogue does not know.
    pub fn is_stranger(&self, upstream: &str) -> bool {
        !self.targets.contains_key(upstream)
    }

    fn health(&self, targets: &Targets, upstream: &Arc<str>, most: usize) -> Arc<TargetHealth> {
        if let Some(known) = targets.get(upstream) {
            return Arc::clone(&known);
        }
        if targets.len() >= most {
            return Arc::clone(&self.others);
        }
        Arc::clone(
            &targets
                .entry(Arc::clone(upstream))
                .or_insert_with(|| Arc::new(TargetHealth::probed(&self.down))),
        )
    }
}

/// All accounts, and the budget that they share.
#[derive(Debug, Default)]
pub struct Accounts {
    by_id: DashMap<Arc<str>, Arc<Account>>,
    /// What is left for further attempts.
    pub budget: Budget,
    /// The ways that calls took from one of them to another.
    pub failovers: Failovers,
}

impl Accounts {
    /// The account of a row: the one there is, or a new one.
    pub fn of(&self, provider: &Arc<Provider>, now: Instant) -> Arc<Account> {
        let entry = self.by_id.entry(Arc::clone(&provider.id));
        Arc::clone(&entry.or_insert_with(|| Arc::new(Account::new(provider, now))))
    }

    /// The account of this id, if there is one.
    pub fn get(&self, id: &str) -> Option<Arc<Account>> {
        self.by_id.get(id).map(|account| Arc::clone(&account))
    }

    /// After a reload: rows that are gone are forgotten, the others take their new credentials.
    pub fn reloaded<'a>(&self, providers: impl IntoIterator<Item = &'a Arc<Provider>>, now: Instant) {
        let mut ids = Vec::new();
        for provider in providers {
            self.of(provider, now).reload(provider, now);
            ids.push(Arc::clone(&provider.id));
        }
        self.by_id.retain(|id, _| ids.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failed_probes_take_a_provider_down_softly_and_one_that_goes_well_brings_it_back() {
        let now = Instant::now();
        let account = Account::new(&Arc::new(crate::config::testing::row("up", 1)), now);
        let target = account.target(&Arc::from("m"));
        let every = Duration::from_secs(30);
        assert!(account.begin_probe(every, now) && !account.begin_probe(every, now));
        assert!(account.begin_probe(every, now + every));
        assert!(!account.probed(false) && !account.is_down());
        assert!(account.probed(false) && account.is_down() && !account.probed(false));
        let reading = target.reading(now);
        assert!(reading.soft && reading.ejected_until.is_some_and(|until| now < until), "{reading:?}");
        // It may still be asked, if nobody else can be.
        assert!(target.admit(now, false).is_ok());
        assert!(account.probed(true) && target.reading(now).ejected_until.is_none());
    }

    #[test]
    fn a_row_that_changes_forgets_what_probes_said_and_one_that_stays_keeps_its_pool() {
        let now = Instant::now();
        let row = Arc::new(crate::config::testing::row("up", 1));
        let accounts = Accounts::default();
        let account = accounts.of(&row, now);
        let pool = account.pool();
        account.probed(false);
        account.probed(false);
        accounts.reloaded([&Arc::new((*row).clone())], now);
        assert!(account.is_down() && Arc::ptr_eq(&pool, &account.pool()));
        let mut other = (*row).clone();
        other.admission.ceiling = 1;
        accounts.reloaded([&Arc::new(other)], now);
        assert!(!account.is_down() && !Arc::ptr_eq(&pool, &account.pool()));
        assert_eq!((account.admission().ceiling, accounts.get("up").is_some()), (1, true));
        accounts.reloaded([], now);
        assert!(accounts.get("up").is_none());
    }

    #[test]
    fn whoever_has_an_older_row_gets_its_credentials_in_its_order() {
        let (now, key) = (Instant::now(), |name: &str| crate::config::ApiKey {
            name: Arc::from(name),
            secret: crate::config::Secret::new(name),
            weight: 1,
            rpm: None,
            tpm: None,
            concurrency: None,
        });
        let row = |names: &[&str]| {
            let api_keys = names.iter().map(|name| key(name)).collect();
            Arc::new(Provider { api_keys, ..crate::config::testing::row("up", 1) })
        };
        let (old, new) = (row(&["a", "b"]), row(&["z", "b"]));
        let accounts = Accounts::default();
        let account = accounts.of(&old, now);
        accounts.reloaded([&new], now);
        let names = |pool: Arc<Pool>| {
            pool.standings(now).iter().map(|credential| credential.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(account.pool()), ["z", "b"]);
        assert_eq!(names(account.pool_of(&old, now)), ["a", "b"]);
        assert!(Arc::ptr_eq(&account.pool(), &account.pool_of(&new, now)));
    }

    #[test]
    fn models_are_kept_apart_and_made_up_names_crowd_nobody_out() {
        let account = Account::new(&Arc::new(crate::config::testing::row("up", 1)), Instant::now());
        let name = |number: usize| Arc::<str>::from(format!("m{number}"));
        let first = account.stranger(&name(0));
        assert!(Arc::ptr_eq(&first, &account.stranger(&name(0))));
        assert!(!Arc::ptr_eq(&first, &account.stranger(&name(1))));
        (0..100_000).for_each(|number| drop(account.stranger(&name(number))));
        assert_eq!(account.strangers.len(), STRANGERS_MAX);
        assert!(Arc::ptr_eq(&first, &account.stranger(&name(0))));
        assert!(Arc::ptr_eq(&account.others, &account.stranger(&name(99_999))));
        assert!(!Arc::ptr_eq(&account.others, &account.target(&name(99_999))));
    }
}
