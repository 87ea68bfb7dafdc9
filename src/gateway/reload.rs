//! Reading the configuration again while calls are served: when a file changed, on SIGHUP, or when management asks.
//!
//! Invariants: a configuration with anything wrong changes nothing; what is in force is replaced as a whole, and calls
//! that run go on with what they began with.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::current::current;
use crate::actors::gauges::Gauges;
use crate::actors::live::{Live, Outcome, Reloaded};
use crate::actors::messages::Reload;
use crate::actors::supervisor::Supervisor;
use crate::catalog::Catalog;
use crate::cell::Shared;
use crate::config::{Loaded, Problem, changes, keep};
use crate::policy::account::Accounts;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Reads configuration and catalogue.
pub type Source = Arc<dyn Fn() -> Result<(Loaded, Arc<Catalog>), Vec<Problem>> + Send + Sync>;

/// Where a new configuration comes from.
#[derive(Clone)]
pub struct Sources {
    /// Reads all of it.
    pub load: Source,
    /// The files it was read from the last time that it could be.
    pub files: Vec<PathBuf>,
}

/// What reloads.
pub struct Reloading {
    sources: Sources,
    live: Live,
    accounts: Arc<Accounts>,
    supervisors: Arc<Mutex<Vec<Addr<Supervisor>>>>,
    gauges: Gauges,
}

/// Serves those who ask, as a task of this thread; without sources whoever asks is told that there are none.
pub fn start(
    reloading: Option<Reloading>,
    asked: mpsc::Receiver<oneshot::Sender<Outcome>>,
) -> JoinHandle<()> {
    tokio::task::spawn_local(async move {
        if let Some(reloading) = reloading {
            reloading.run(asked).await;
        }
    })
}

impl Reloading {
    /// For the cells that are started from `shared`.
    pub fn new(sources: Sources, shared: &Shared) -> Self {
        Self {
            sources,
            live: Arc::clone(&shared.live),
            accounts: Arc::clone(&shared.accounts),
            supervisors: Arc::clone(&shared.supervisors),
            gauges: shared.gauges.clone(),
        }
    }

    /// Serves those who ask and watches the files, for good.
    pub async fn run(mut self, mut asked: mpsc::Receiver<oneshot::Sender<Outcome>>) {
        let mut seen = self.fingerprint().await;
        // A file that is being written is not read: it must look the same twice.
        let mut settling = None;
        loop {
            tokio::select! {
                biased;
                answer = asked.recv() => {
                    let Some(answer) = answer else { return };
                    seen = self.fingerprint().await;
                    settling = None;
                    let outcome = self.reload().await;
                    // Who asked may have gone.
                    let _ = answer.send(outcome);
                }
                () = sleep(POLL) => {
                    if !self.live.load().settings.server.config_watch {
                        continue;
                    }
                    let now = self.fingerprint().await;
                    if now == seen {
                        settling = None;
                    } else if settling == Some(now) {
                        (seen, settling) = (now, None);
                        // Told in the log.
                        let _ = self.reload().await;
                    } else {
                        settling = Some(now);
                    }
                }
            }
        }
    }

    /// What the files hold, as a number: their dates say little where files are links that are turned.
    async fn fingerprint(&self) -> u64 {
        let files = self.sources.files.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let mut hasher = DefaultHasher::new();
            for file in files {
                std::fs::read(file).map_err(|error| error.kind()).hash(&mut hasher);
            }
            hasher.finish()
        });
        hashed.await.unwrap_or(0)
    }

    /// Reads, checks, and puts in force; says how it went.
    async fn reload(&mut self) -> Outcome {
        let load = Arc::clone(&self.sources.load);
        let loaded = tokio::task::spawn_blocking(move || load()).await;
        let outcome = loaded
            .unwrap_or_else(|_| Err(vec![Problem::new("reload", "reading the configuration failed")]))
            .and_then(|(loaded, catalog)| self.take(loaded, catalog));
        self.gauges.config.reloaded(outcome.is_ok());
        match &outcome {
            Ok(Reloaded { changed, start_only, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(changed = changed.join(", "), "configuration reloaded");
                if !start_only.is_empty() {
                    let keys = start_only.join(", ");
                    tracing::warn!(
                        keys,
                        "these are read at the start only; restart the gateway to change them"
                    );
                }
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "the new configuration is not taken; the old one stays in force");
                }
            }
        }
        outcome
    }

    /// Puts a configuration in force.
    fn take(&mut self, loaded: Loaded, catalog: Arc<Catalog>) -> Outcome {
        let Loaded { mut settings, warnings, files, .. } = loaded;
        let old = self.live.load_full();
        let start_only = keep(&old.settings, &mut settings);
        let mut changed = changes(&old.settings, &settings);
        // The same catalogue is not made twice: its offers are held by calls and caches.
        let same = **old.router.catalog() == *catalog;
        let catalog = if same { Arc::clone(old.router.catalog()) } else { catalog };
        if !same {
            changed.push("catalog".to_owned());
        }
        let new = current(settings, catalog, &self.accounts, Arc::clone(&old.tls))
            .map_err(|error| vec![Problem::new("providers", error.to_string())])?;
        let new = Arc::new(new);
        self.accounts.reloaded(new.settings.providers.values(), Instant::now());
        // Under the lock: a cell that starts meanwhile sees either the old and this message, or the new.
        let supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.store(Arc::clone(&new));
        for supervisor in &*supervisors {
            // One message per reload: the mailbox's bound is not asked.
            supervisor.do_send(Reload(Arc::clone(&new)));
        }
        self.sources.files = files;
        Ok(Reloaded { changed, start_only, warnings })
    }
}
