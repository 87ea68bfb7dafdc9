//! One worker thread's actors: a supervisor, a provider actor per account, an outbox. Cells share nothing but
//! what [`Shared`] holds.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Actor, Addr, Recipient};
use actix_web::web::Data;
use tokio::sync::watch;

use crate::actors::gauges::Gauges;
use crate::actors::outbox::Outbox;
use crate::actors::supervisor::Supervisor;
use crate::config::Provider;
use crate::http::body_room::BodyRoom;
use crate::http::door;
use crate::http::front::{Front, Limits};
use crate::http::readiness::Readiness;
use crate::policy::account::Accounts;
use crate::policy::route::Router;
use crate::policy::vault::Vault;
use crate::receipt::Batch;
use crate::store::KeyTable;
use crate::upstream::{Fetcher, Fetching, Keyring, Link};

/// What every cell is made from, on whatever thread.
#[derive(Clone)]
pub struct Shared {
    /// The routing table.
    pub router: Arc<Router>,
    /// What cells share of the accounts.
    pub accounts: Arc<Accounts>,
    /// Configured accounts.
    pub providers: Vec<Arc<Provider>>,
    /// TLS roots and protocol.
    pub tls: Arc<rustls::ClientConfig>,
    /// Credentials of the accounts that have more than a key.
    pub keyring: Keyring,
    /// Who may come in.
    pub keys: Arc<KeyTable>,
    /// Where receipts go.
    pub billing: Recipient<Arc<Batch>>,
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
    /// What the fetchers of images share; `None`: nothing is fetched.
    pub fetching: Option<Fetching>,
    /// Bounds at the door.
    pub limits: Limits,
    /// The supervisors of the cells that were started.
    pub supervisors: Arc<Mutex<Vec<Addr<Supervisor>>>>,
}

impl Shared {
    /// Starts a cell on this thread.
    pub fn start_cell(&self) -> Data<Front> {
        let outbox = Outbox::new(self.billing.clone(), self.gauges.unsettled.clone());
        let links = self.providers.iter().filter_map(|provider| {
            match Link::new(Arc::clone(provider), &self.tls, &self.keyring) {
                Ok(link) => Some(link),
                Err(error) => {
                    // Checked at start already; a row that cannot be used takes no request.
                    tracing::error!(%error, "provider left out");
                    None
                }
            }
        });
        let supervisor = Supervisor::new(
            Arc::clone(&self.router),
            Arc::clone(&self.accounts),
            links.collect(),
            Rc::clone(&outbox),
            door::now_ms,
        )
        .start();
        self.supervisors.lock().unwrap_or_else(PoisonError::into_inner).push(supervisor.clone());
        Data::new(Front {
            supervisor,
            keys: Arc::clone(&self.keys),
            outbox,
            gauges: self.gauges.clone(),
            router: Arc::clone(&self.router),
            readiness: Arc::clone(&self.readiness),
            cut: self.cut.clone(),
            body_room: self.body_room.clone(),
            vault: Arc::clone(&self.vault),
            fetcher: self.fetching.clone().map(Fetcher::new),
            limits: self.limits,
        })
    }
}
