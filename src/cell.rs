//! One worker thread's actors: a supervisor, a provider actor per account, an outbox. Cells share nothing but
//! what [`Shared`] holds.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Actor, Addr, Recipient};
use actix_web::web::Data;
use tokio::sync::watch;

use crate::actors::cells::Cells;
use crate::actors::gauges::Gauges;
use crate::actors::live::{Live, Reloads};
use crate::actors::outbox::Outbox;
use crate::actors::recorder::Recorder;
use crate::actors::standing::Standings;
use crate::actors::supervisor::Supervisor;
use crate::config::TelemetrySettings;
use crate::fleet::Fleet;
use crate::http::admin::{Overview, Shown};
use crate::http::body_room::BodyRoom;
use crate::http::door;
use crate::http::front::Front;
use crate::http::idempotent::Idempotency;
use crate::http::readiness::Readiness;
use crate::journal::Journal;
use crate::policy::account::Accounts;
use crate::policy::vault::Vault;
use crate::receipt::Batch;
use crate::store::KeyTable;
use crate::trace::Sampler;
use crate::upstream::{Fetcher, Fetching};

/// What every cell is made from, on whatever thread.
#[derive(Clone)]
pub struct Shared {
    /// What is in force.
    pub live: Live,
    /// What cells share of the accounts.
    pub accounts: Arc<Accounts>,
    /// Who may come in.
    pub keys: Arc<KeyTable>,
    /// What is shared with other replicas; `None`: nothing.
    pub fleet: Option<Fleet>,
    /// Where receipts go.
    pub billing: Recipient<Arc<Batch>>,
    /// Where bodies go that are stored.
    pub recorder: Recorder,
    /// Where receipts are written.
    pub journal: Arc<Journal>,
    /// Process-wide numbers.
    pub gauges: Gauges,
    /// Whether calls are taken.
    pub readiness: Arc<Readiness>,
    /// Turns true when streams that still run must end.
    pub cut: watch::Receiver<bool>,
    /// Room for large bodies, shared by all cells.
    pub body_room: BodyRoom,
    /// Reasoning of earlier answers, shared by all cells.
    pub vault: Arc<Vault>,
    /// Requests that carry a key of their client's, shared by all cells.
    pub idempotency: Arc<Idempotency>,
    /// What the fetchers of images share; `None`: nothing is fetched.
    pub fetching: Option<Fetching>,
    /// The supervisors of the cells that were started. Locked, too, while what is in force changes: no cell misses it.
    pub supervisors: Arc<Mutex<Vec<Addr<Supervisor>>>>,
}

impl Shared {
    /// What management looks at.
    pub fn shown(&self, standings: Standings, reloads: Reloads, overview: Overview) -> Shown {
        Shown {
            live: Arc::clone(&self.live),
            standings,
            reloads,
            cells: Arc::clone(&self.supervisors),
            vault: Arc::clone(&self.vault),
            overview,
        }
    }

    /// Starts a cell on this thread.
    pub fn start_cell(&self) -> Data<Front> {
        let outbox = Outbox::journalled(self.billing.clone(), &self.gauges, self.journal.writer());
        let mut supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.live.load_full();
        let links = current.settings.providers.values().filter_map(|provider| {
            // Checked at start already; a row that cannot be used takes no request.
            let failed = |error: &_| tracing::error!(%error, "provider left out");
            current.link(provider).inspect_err(failed).ok()
        });
        let supervisor = Supervisor::new(
            Arc::clone(&current.router),
            Arc::clone(&self.accounts),
            links.collect(),
            Rc::clone(&outbox),
            door::now_ms,
        )
        .start();
        supervisors.push(supervisor.clone());
        drop(supervisors);
        Data::new(Front {
            supervisor,
            keys: Arc::clone(&self.keys),
            fleet: self.fleet.clone(),
            outbox,
            gauges: self.gauges.clone(),
            load: Cells::start(&self.gauges),
            live: Arc::clone(&self.live),
            readiness: Arc::clone(&self.readiness),
            cut: self.cut.clone(),
            body_room: self.body_room.clone(),
            vault: Arc::clone(&self.vault),
            idempotency: Arc::clone(&self.idempotency),
            sampler: sampler(&self.live.load().settings.telemetry),
            recorder: self.recorder.clone(),
            fetcher: self.fetching.clone().map(Fetcher::new),
        })
    }
}

/// Which calls are traced: none without anybody to tell.
fn sampler(telemetry: &TelemetrySettings) -> Option<Sampler> {
    telemetry.endpoint.as_ref().map(|_| Sampler::new(telemetry.sample_ratio))
}
