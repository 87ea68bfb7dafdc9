//! Puts the fleet together: its settings, the ledger it reads, the tasks that follow it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::StartError;
use crate::actors::gauges::Gauges;
use crate::config::Settings;
use crate::fleet::address::Address;
use crate::fleet::{Allowance, Fleet, OnLoss, Setup, Sum, Sums};
use crate::http::door::now_ms;
use crate::journal::Journal;
use crate::money::Usd;
use crate::policy::budget::Window;
use crate::store::{KeyTable, Payer, Store};

/// How often is looked whether a process that is gone is settled.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Receipts are on their way to Billing for so long at most, before they count as unsettled.
const OUTBOX_MS: i64 = 1_000;

/// The fleet that the settings name, if they name one; known to who shows numbers.
///
/// # Errors
/// An address that is none, which is not shown, since it may hold a password; certificates that cannot be had.
pub(super) fn join(
    settings: &Settings,
    journal: &Journal,
    gauges: &Gauges,
) -> Result<Option<Fleet>, StartError> {
    let redis = &settings.redis;
    let Some(url) = &redis.url else { return Ok(None) };
    let address = Address::parse(url.expose()).map_err(|why| StartError(format!("redis.url: {why}")))?;
    let address = match &redis.ca_file {
        None => address,
        Some(file) => {
            let wrong = |why: String| StartError(format!("redis.ca_file: {}: {why}", file.display()));
            let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
            address.trusting(&pem).map_err(|why| wrong(why.to_owned()))?
        }
    };
    let on_loss = if redis.deny_on_loss { OnLoss::Deny } else { OnLoss::LocalShare };
    // The journal's, so that whoever settles what this process leaves can say so.
    let (timeout, prefix, boot) = (redis.timeout, redis.prefix.clone(), journal.boot().to_string());
    let fleet = Fleet::new(Setup { address, timeout, on_loss, prefix, boot });
    // There is one gateway to a set of gauges.
    let _ = gauges.fleet.set(fleet.clone());
    Ok(Some(fleet))
}

/// Runs it, and tells it of the changes that this process makes and of the processes that are gone.
pub(super) fn run(
    fleet: Option<&Fleet>,
    keys: &Arc<KeyTable>,
    store: &Arc<dyn Store>,
    gauges: &Gauges,
    journal: Arc<Journal>,
) -> JoinHandle<()> {
    let Some(fleet) = fleet.cloned() else { return tokio::task::spawn_local(async {}) };
    let keys = Arc::clone(keys);
    let sharing = fleet.clone();
    keys.follow_budgets(Box::new(move |payer, purse| {
        let name = payer.shared_name();
        if purse.has_budget() {
            sharing.share_budget(name.as_str().into(), Arc::clone(purse) as Arc<dyn Allowance>);
        } else {
            sharing.drop_budget(&name);
        }
    }));
    let ledger = Ledger { store: Arc::clone(store), gauges: gauges.clone(), settled_ms: AtomicI64::new(0) };
    tokio::task::spawn_local(async move {
        let changes = async {
            loop {
                keys.changed_here().await;
                fleet.changed();
            }
        };
        let departures = async {
            loop {
                journal.departed().iter().for_each(|boot| fleet.departed(&boot.to_string()));
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::join!(fleet.run(&ledger), changes, departures);
    })
}

/// The ledger, as the fleet reads it.
struct Ledger {
    store: Arc<dyn Store>,
    gauges: Gauges,
    settled_ms: AtomicI64,
}

impl Sums for Ledger {
    fn spent<'a>(&'a self, payer: &'a str, window: Window) -> Sum<'a> {
        Box::pin(async move {
            let payer = Payer::of_shared_name(payer)?;
            let spent = self.store.charged(&payer, window.start_ms, window.end_ms).await.ok()?;
            Some(Usd::from_units(i64::try_from(spent).unwrap_or(i64::MAX)))
        })
    }

    fn settled_ms(&self) -> i64 {
        // What is in memory alone has no date: then nothing is known anew.
        if self.gauges.unsettled.alone() == 0 {
            let reached = self.gauges.journal.oldest_ms().unwrap_or_else(now_ms) - OUTBOX_MS;
            self.settled_ms.fetch_max(reached, Ordering::Relaxed);
        }
        self.settled_ms.load(Ordering::Relaxed)
    }
}
