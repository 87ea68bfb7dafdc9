//! The composition root: builds everything from the settings, in order, and takes it down in order.
//!
//! Start: folder, store, keys, journal, metrics, billing, listeners, what another process left unsettled. Stop: refuse new calls, let running ones finish,
//! tell those that cannot, hand over and settle every receipt, close.

mod acceptor;
mod admin_key;
mod alerts;
mod answers;
mod current;
mod declared;
mod fleet;
mod journal;
mod listeners;
mod memory;
mod observed;
mod reload;
mod workers;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::Addr;
use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::actors::billing::{Billing, Flush, Left, Pace};
use crate::actors::gauges::Gauges;
use crate::actors::live::{Live, Reloads};
use crate::actors::messages::Drain;
use crate::actors::metrics::Metrics;
use crate::actors::recorder::Recorder;
use crate::actors::supervisor::Supervisor;
use crate::catalog::Catalog;
use crate::cell::Shared;
use crate::config::{Secret, Settings};
use crate::fleet::Fleet;
use crate::http::admin::{Admin, Overview};
use crate::http::body_room::BodyRoom;
use crate::http::idempotent::Idempotency;
use crate::http::readiness::{Readiness, Stage};
use crate::journal::{Journal, Keeper};
use crate::policy::account::Accounts;
use crate::policy::budget::Calendar;
use crate::policy::vault::Vault;
use crate::store::{self, By, KeyTable, POLL_INTERVAL, Store};
use crate::upstream::{Fetching, tls_config};
pub use declared::declared;
use listeners::{Ops, Public};
use observed::{Told, observed};
use reload::Reloading;
pub use reload::{Source, Sources};

/// How long Billing gets to settle at the end.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);
/// What was charged this long ago is in the ledger: batches take some hundred milliseconds.
const SETTLING_MS: i64 = 10_000;
/// How long a start waits to be told what is left of shared budgets: calls that come before are asked to come again.
const LEASES_DEADLINE: Duration = Duration::from_secs(3);
/// How long a start tries to read what was spent, and how often.
const SEED_DEADLINE: Duration = Duration::from_secs(20);
const SEED_AGAIN: Duration = Duration::from_millis(500);
/// How long the store gets to take the last answers that are given again.
const ANSWERS_STORED: Duration = Duration::from_secs(2);
/// How long the store gets to take the last bodies of the request log.
const BODIES_STORED: Duration = Duration::from_secs(2);
/// How long cut streams get to send their last event.
const LAST_EVENT: Duration = Duration::from_millis(500);

/// Why the gateway cannot start: one clear line.
#[derive(Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A running gateway.
pub struct Gateway {
    public: Public,
    ops: Ops,
    keeper: Keeper,
    billing: Addr<Billing>,
    supervisors: Arc<Mutex<Vec<Addr<Supervisor>>>>,
    readiness: Arc<Readiness>,
    gauges: Gauges,
    cut: watch::Sender<bool>,
    store: Arc<dyn Store>,
    admin_key: Secret,
    admin_key_file: Option<PathBuf>,
    live: Live,
    reloads: Reloads,
    fleet: Option<Fleet>,
    idempotency: Arc<Idempotency>,
    recorder: Recorder,
    told: Told,
    polling: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts a gateway. Must run inside an actix system.
    ///
    /// # Errors
    /// A folder that cannot be written, a port that is taken, a provider row that HTTP cannot carry.
    pub async fn start(
        settings: &Settings,
        catalog: Arc<Catalog>,
        sources: Option<Sources>,
    ) -> Result<Self, StartError> {
        let (store, keys) = storage(settings).await?;
        let (admin_key, admin_key_file) = admin_key::settle(settings)?;
        let gauges = Gauges::default();
        let (journal, keeper) = journal::opened(settings, &gauges)?;
        let fleet = fleet::join(settings, &journal, &gauges)?;
        let readiness = Arc::new(Readiness::new(gauges.clone()));
        let (cut, when_cut) = watch::channel(false);
        let accounts = Arc::<Accounts>::default();
        let live = in_force(settings, catalog, &accounts)?;
        let (standings, metrics, told) = observed(&live, &accounts, &gauges, &keys)?;
        let billing = billing(settings, &store, &metrics, &gauges);
        let (idempotency, keeping) = answers::kept(settings, &store, &gauges);
        let shared = Shared {
            recorder: Recorder::launch(Arc::clone(&store), Arc::clone(&live), gauges.logged.clone()),
            idempotency: Arc::clone(&idempotency),
            live: Arc::clone(&live),
            accounts,
            keys: Arc::clone(&keys),
            fleet: fleet.clone(),
            billing: billing.clone().recipient(),
            journal: Arc::clone(&journal),
            gauges: gauges.clone(),
            readiness: Arc::clone(&readiness),
            cut: when_cut,
            body_room: body_room(settings),
            vault: Arc::new(Vault::new(settings.reasoning.memory, settings.reasoning.life)),
            fetching: Fetching::of(&settings.fetch).map_err(failed("server.fetch_ca_file: "))?,
            supervisors: Arc::default(),
        };
        let (supervisors, recorder) = (Arc::clone(&shared.supervisors), shared.recorder.clone());
        let (reloads, asked) = Reloads::channel();
        let shown = shared.shown(standings, reloads.clone(), overview(&metrics, &gauges, &readiness));
        let public_at = Arc::clone(&shown.overview.public);
        let admin =
            Admin::new(Arc::clone(&store), Arc::clone(&keys), &admin_key, shown).map_err(failed(""))?;
        let reloading = sources.map(|sources| Reloading::new(sources, &shared, Arc::clone(&store)));
        let ops = listeners::ops(&settings.ops_listen, admin, metrics.recipient(), Arc::clone(&readiness))?;
        let public = listeners::public(settings, shared, ops.address, &public_at).await?;
        let mut polling = followers(&keys, &store, &gauges, &live, fleet.as_ref(), journal);
        polling.push(memory::watch(Arc::clone(&live), gauges.memory.clone()));
        polling.extend([reload::start(reloading, asked), keeping]);
        all_settled(&keys, &*store, &gauges, fleet.as_ref()).await?;
        readiness.advance(Stage::Ready);
        Ok(Self {
            public,
            ops,
            keeper,
            billing,
            supervisors,
            readiness,
            gauges,
            cut,
            store,
            admin_key,
            admin_key_file,
            live,
            reloads,
            fleet,
            idempotency,
            recorder,
            told,
            polling,
        })
    }

    /// Where clients come in.
    pub fn public_addr(&self) -> SocketAddr {
        self.public.address
    }

    /// Where operators look.
    pub fn ops_addr(&self) -> SocketAddr {
        self.ops.address
    }

    /// Keys and ledger.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The admin key.
    pub fn admin_key(&self) -> &Secret {
        &self.admin_key
    }

    /// Asks it to read its configuration again.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// What is in force now.
    pub fn settings(&self) -> Settings {
        self.live.load().settings.clone()
    }

    /// Where the admin key was written, if it was made here.
    pub fn admin_key_file(&self) -> Option<&PathBuf> {
        self.admin_key_file.as_ref()
    }

    /// Stops in order; returns the number of receipts that are lost, zero at best. What the journal holds is not.
    pub async fn stop(self) -> u64 {
        self.stop_in_a_hurry_when(Duration::ZERO, std::future::pending()).await
    }

    /// As [`Gateway::stop`], but new calls are taken for `delay` yet, while `/health/ready` is 503 already; and once
    /// `impatient` is ready running calls are not waited for any longer. Receipts still are: they are money.
    pub async fn stop_in_a_hurry_when(self, delay: Duration, impatient: impl Future<Output = ()>) -> u64 {
        let mut impatient = std::pin::pin!(impatient);
        self.readiness.advance(Stage::Leaving);
        let hurried = tokio::select! {
            () = sleep(delay) => false,
            () = &mut impatient => true,
        };
        self.readiness.advance(Stage::Draining);
        if !hurried {
            tokio::select! {
                () = self.wait_for_calls(self.live.load().settings.server.drain_timeout) => {}
                () = impatient => {}
            }
        }
        if self.gauges.in_flight.get() > 0 {
            tracing::warn!(
                calls = self.gauges.in_flight.get(),
                "not waiting any longer; cutting what still runs"
            );
        }
        let _ = self.cut.send(true);
        self.wait_for_calls(LAST_EVENT).await;
        let supervisors =
            std::mem::take(&mut *self.supervisors.lock().unwrap_or_else(PoisonError::into_inner));
        for supervisor in supervisors {
            let _ = tokio::time::timeout(SETTLE_DEADLINE, supervisor.send(Drain)).await;
        }
        let flush = self.billing.send(Flush { deadline: SETTLE_DEADLINE }).await;
        let left = flush.unwrap_or(Left { lost: u64::MAX, kept: 0 });
        self.public.workers.stop().await;
        self.ops.handle.stop(true).await;
        self.idempotency.flush(ANSWERS_STORED).await;
        self.recorder.flush(BODIES_STORED).await;
        self.told.flush().await;
        if let Some(fleet) = &self.fleet {
            // Every receipt is settled, or lost: what is held goes back.
            fleet.leave(crate::http::door::now_ms()).await;
        }
        for polling in &self.polling {
            polling.abort();
        }
        self.store.close().await;
        journal::closed(&self.keeper, left).await;
        left.lost
    }

    /// Waits until no call is in flight, at most this long.
    async fn wait_for_calls(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.gauges.in_flight.get() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Starts Billing before the store, with what another process left already to be settled.
fn billing(
    settings: &Settings,
    store: &Arc<dyn Store>,
    metrics: &Addr<Metrics>,
    gauges: &Gauges,
) -> Addr<Billing> {
    let ledger = Arc::new(Arc::clone(store));
    let pace = Pace { memory_max: settings.journal.memory_receipts, ..Pace::default() };
    Billing::launch(ledger, metrics.clone().recipient(), gauges.clone(), pace)
}

/// What the status page shows of the process; where clients come in is not known yet.
fn overview(metrics: &Addr<Metrics>, gauges: &Gauges, readiness: &Arc<Readiness>) -> Overview {
    Overview {
        metrics: metrics.clone().recipient(),
        gauges: gauges.clone(),
        readiness: Arc::clone(readiness),
        public: Arc::default(),
        started: std::time::Instant::now(),
    }
}

/// Follows changes of keys made elsewhere.
fn poll(keys: Arc<KeyTable>, store: Arc<dyn Store>, gauges: Gauges, fleet: Option<&Fleet>) -> JoinHandle<()> {
    let heard = fleet.map_or_else(|| watch::channel(0).1, Fleet::heard);
    tokio::task::spawn_local(async move {
        keys.poll(&*store, POLL_INTERVAL, heard, || settled_before_ms(&gauges)).await;
    })
}

/// Room for large bodies: one of the largest size fits, whatever was configured.
fn body_room(settings: &Settings) -> BodyRoom {
    BodyRoom::new(settings.server.body_memory.max(settings.server.body_limit))
}

/// What the cells begin with.
fn in_force(
    settings: &Settings,
    catalog: Arc<Catalog>,
    accounts: &Arc<Accounts>,
) -> Result<Live, StartError> {
    let tls = tls_config().map_err(failed("TLS: "))?;
    let current = current::current(settings.clone(), catalog, accounts, tls).map_err(failed(""))?;
    Ok(Arc::new(ArcSwap::from_pointee(current)))
}

/// What follows the keys and their money, as tasks of this thread.
fn followers(
    keys: &Arc<KeyTable>,
    store: &Arc<dyn Store>,
    gauges: &Gauges,
    live: &Live,
    fleet: Option<&Fleet>,
    journal: Arc<Journal>,
) -> Vec<JoinHandle<()>> {
    let alerts = alerts::watch(Arc::clone(keys), Arc::clone(store), Arc::clone(live), gauges.alerts.clone());
    let shared = fleet::run(fleet, keys, store, gauges, journal);
    vec![poll(Arc::clone(keys), Arc::clone(store), gauges.clone(), fleet), shared, alerts]
}

/// Waits until what other processes left is settled, and reads what was spent before: all of it is in the ledger, but for
/// what could not be settled.
/// Where a fleet shares budgets, this also waits until it is known here what is left of them.
async fn all_settled(
    keys: &KeyTable,
    store: &dyn Store,
    gauges: &Gauges,
    fleet: Option<&Fleet>,
) -> Result<(), StartError> {
    journal::replayed(&gauges.journal).await;
    let settled_before_ms = gauges.journal.oldest_ms().unwrap_or(i64::MAX);
    // Whoever starts while the store is busy, with what a crashed process left among others, is patient.
    let deadline = Instant::now() + SEED_DEADLINE;
    while let Err(error) = keys.seed(store, settled_before_ms).await {
        if Instant::now() >= deadline {
            return Err(failed("what was spent cannot be read: ")(error));
        }
        tracing::warn!(%error, "what was spent cannot be read yet; trying again");
        sleep(SEED_AGAIN).await;
    }
    let deadline = Instant::now() + LEASES_DEADLINE;
    while fleet.is_some_and(|fleet| !fleet.knows_what_is_left()) && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Everything that was charged before this moment is in the ledger.
fn settled_before_ms(gauges: &Gauges) -> i64 {
    if gauges.unsettled.get() > 0 {
        return 0;
    }
    now_ms().saturating_sub(SETTLING_MS).min(gauges.journal.oldest_ms().unwrap_or(i64::MAX))
}

/// Who changes what the configuration declares.
fn by_config() -> By {
    By { actor: "config".to_owned(), now_ms: now_ms() }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Opens the store and reads the keys.
async fn storage(settings: &Settings) -> Result<(Arc<dyn Store>, Arc<KeyTable>), StartError> {
    make_folder(&settings.data_dir)?;
    let store = store::open_patiently(settings).await.map_err(failed(""))?;
    let declared = declared(&settings.governance).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        StartError(problems.join("; "))
    })?;
    store
        .declare(declared, by_config())
        .await
        .map_err(failed("the configuration's keys cannot be taken: "))?;
    let calendar = Calendar::of(&settings.governance.budgets.time_zone).unwrap_or_default();
    let keys = Arc::new(KeyTable::new(Arc::new(calendar)));
    keys.refresh(&*store).await.map_err(failed("the keys cannot be read: "))?;
    Ok((store, keys))
}

/// One clear line: what could not be done, and why.
fn failed<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> StartError {
    move |error| StartError(format!("{what}{error}"))
}

/// Makes the folder of the gateway's own files.
fn make_folder(folder: &std::path::Path) -> Result<(), StartError> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let folder = folder.display();
        StartError(format!("data_dir {folder} cannot be made: {error}. Choose another or mend its rights."))
    })
}
