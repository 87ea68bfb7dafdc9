//! Reading the configuration again while calls are served: when a file changed, on SIGHUP, or when management asks.
//!
//! Invariants: a configuration with anything wrong changes nothing; what is in force is replaced as a whole, and calls
//! that run go on with what they began with.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::by_config;
use super::current::current;
use super::declared::declared;
use crate::actors::gauges::Gauges;
use crate::actors::live::{Current, Live, NotReloaded, Outcome, Reloaded};
use crate::actors::messages::Reload;
use crate::actors::supervisor::Supervisor;
use crate::catalog::Catalog;
use crate::cell::Shared;
use crate::config::{Loaded, Problem, changes, keep};
use crate::policy::account::Accounts;
use crate::store::{Declared, KeyTable, Store, StoreError};

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);
/// Threads that may be stuck in reading at a time.
const READERS_MAX: usize = 4;
/// How long reading may take: files may be on a network.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads configuration and catalogue; adds to the list what was read for it, also where it fails.
pub type Source =
    Arc<dyn Fn(&mut Vec<PathBuf>) -> Result<(Loaded, Arc<Catalog>), Vec<Problem>> + Send + Sync>;

/// Where a new configuration comes from.
#[derive(Clone)]
pub struct Sources {
    load: Source,
    /// The files it was read from the last time.
    files: Vec<PathBuf>,
    /// What they were like then.
    seen: u64,
}

impl Sources {
    /// A source that has just read these files.
    pub fn new(load: Source, files: Vec<PathBuf>) -> Self {
        let seen = fingerprint(&files);
        Self { load, files, seen }
    }
}

/// What files are like, as a number: which ones they are, how long, how old. They are not opened, so that neither one that
/// blocks nor one without end does any harm.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let like = std::fs::metadata(file).map(|like| {
            (
                like.dev(),
                like.ino(),
                like.len(),
                like.mtime(),
                like.mtime_nsec(),
                like.ctime(),
                like.ctime_nsec(),
            )
        });
        like.map_err(|error| error.kind()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Threads that read files; each of them may be stuck for ever.
#[derive(Default)]
struct Readers(Arc<()>);

impl Readers {
    /// Runs what may block for ever on a thread of its own, which nobody waits for: `None` when it takes too long, or when
    /// too many others are stuck.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let counted = Arc::clone(&self.0);
        if Arc::strong_count(&counted) > READERS_MAX + 1 {
            return None;
        }
        let (sender, done) = oneshot::channel();
        let read = move || {
            let done = work();
            // Counted until the work is over, and no longer when its end is known.
            drop(counted);
            drop(sender.send(done));
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(read).ok()?;
        timeout(PATIENCE, done).await.ok()?.ok()
    }
}

/// What reloads.
pub struct Reloading {
    sources: Sources,
    live: Live,
    accounts: Arc<Accounts>,
    supervisors: Arc<Mutex<Vec<Addr<Supervisor>>>>,
    gauges: Gauges,
    keys: Arc<KeyTable>,
    store: Arc<dyn Store>,
    readers: Readers,
}

/// A configuration that was checked and is not yet in force.
struct Checked {
    new: Arc<Current>,
    /// What it declares, unless the one in force declares the same.
    declared: Option<Declared>,
    told: Reloaded,
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
    pub fn new(sources: Sources, shared: &Shared, store: Arc<dyn Store>) -> Self {
        Self {
            sources,
            live: Arc::clone(&shared.live),
            accounts: Arc::clone(&shared.accounts),
            supervisors: Arc::clone(&shared.supervisors),
            gauges: shared.gauges.clone(),
            keys: Arc::clone(&shared.keys),
            store,
            readers: Readers::default(),
        }
    }

    /// Serves those who ask and watches the files, for good.
    pub async fn run(mut self, mut asked: mpsc::Receiver<oneshot::Sender<Outcome>>) {
        // A file that is being written is not read: it must look the same twice.
        let mut settling = None;
        loop {
            tokio::select! {
                biased;
                answer = asked.recv() => {
                    let Some(answer) = answer else { return };
                    settling = None;
                    let outcome = self.reload().await;
                    // Who asked may have gone.
                    let _ = answer.send(outcome);
                }
                () = sleep(POLL) => {
                    if !self.live.load().settings.server.config_watch {
                        continue;
                    }
                    let Some((now, emptied)) = self.look().await else { continue };
                    if now == self.sources.seen {
                        settling = None;
                    } else if settling == Some(now) && emptied {
                        self.sources.seen = now;
                        tracing::error!("the configuration file is empty and is not taken; SIGHUP would take it");
                    } else if settling == Some(now) {
                        settling = None;
                        // Told in the log.
                        let _ = self.reload().await;
                    } else {
                        settling = Some(now);
                    }
                }
            }
        }
    }

    /// What the files are like now, and whether the configuration file is empty: the defaults would replace everything,
    /// which who empties a file to write it anew does not mean. `None` when nobody can tell.
    async fn look(&self) -> Option<(u64, bool)> {
        let files = self.sources.files.clone();
        let emptied = |files: &[PathBuf]| {
            files.first().and_then(|file| std::fs::metadata(file).ok()).is_some_and(|like| like.len() == 0)
        };
        self.readers.run(move || (fingerprint(&files), emptied(&files))).await
    }

    /// Reads, checks, and puts in force; says how it went.
    async fn reload(&mut self) -> Outcome {
        let load = Arc::clone(&self.sources.load);
        let (before, known) = (self.look().await, self.sources.files.clone());
        let read = self.readers.run(move || {
            let mut files = Vec::new();
            let loaded = load(&mut files);
            let seen = fingerprint(&files);
            (loaded, files, seen)
        });
        let outcome = match read.await {
            None => Err(NotReloaded::Wrong(vec![Problem::new("reload", "the files cannot be read in time")])),
            Some((loaded, files, seen)) => {
                // What changed while it was read is a change to come.
                self.sources.seen =
                    if files == known { before.map_or(seen, |(before, _)| before) } else { seen };
                self.sources.files = files;
                let checked = loaded.and_then(|(loaded, catalog)| {
                    // One that fails in a way that nobody foresaw must not end the watch.
                    let checking = std::panic::AssertUnwindSafe(|| self.check(loaded, catalog));
                    std::panic::catch_unwind(checking).unwrap_or_else(|_| {
                        Err(vec![Problem::new("reload", "an internal error; see the log")])
                    })
                });
                let taken = match checked {
                    Ok(checked) => self.take(checked).await,
                    Err(problems) => Err(problems),
                };
                taken.map_err(NotReloaded::Wrong)
            }
        };
        self.gauges.config.reloaded(outcome.is_ok());
        tell(&outcome);
        outcome
    }

    /// Checks all of a configuration.
    fn check(&self, loaded: Loaded, catalog: Arc<Catalog>) -> Result<Checked, Vec<Problem>> {
        let Loaded { mut settings, warnings, .. } = loaded;
        let old = self.live.load_full();
        let start_only = keep(&old.settings, &mut settings);
        let mut changed = changes(&old.settings, &settings);
        let same_declared = settings.governance == old.settings.governance;
        let declared = if same_declared { None } else { Some(declared(&settings.governance)?) };
        // The same catalogue is not made twice: its offers are held by calls and caches.
        let same = **old.router.catalog() == *catalog;
        let catalog = if same { Arc::clone(old.router.catalog()) } else { catalog };
        if !same {
            changed.push("catalog".to_owned());
        }
        let new = current(settings, catalog, &self.accounts, Arc::clone(&old.tls))
            .map_err(|error| vec![Problem::new("providers", error.to_string())])?;
        Ok(Checked { new: Arc::new(new), declared, told: Reloaded { changed, start_only, warnings } })
    }

    /// Puts a configuration in force: what it declares first, because the store may refuse that.
    async fn take(&self, checked: Checked) -> Result<Reloaded, Vec<Problem>> {
        let Checked { new, declared, told } = checked;
        if let Some(declared) = declared {
            let wrong = |error: StoreError| vec![Problem::new("keys, projects, tag_sets", error.to_string())];
            let declaring = timeout(PATIENCE, self.store.declare(declared, by_config())).await;
            let late = || vec![Problem::new("keys, projects, tag_sets", "the store takes too long")];
            declaring.map_err(|_| late())?.map_err(wrong)?;
            let refreshing = timeout(PATIENCE, self.keys.refresh_and_seed(&*self.store, 0)).await;
            if !matches!(refreshing, Ok(Ok(()))) {
                tracing::warn!("what the configuration declares is stored, but not yet in force here");
            }
        }
        // Under the lock: a cell that starts meanwhile sees either the old and this message, or the new.
        let supervisors = self.supervisors.lock().unwrap_or_else(PoisonError::into_inner);
        self.accounts.reloaded(new.settings.providers.values(), Instant::now());
        self.live.store(Arc::clone(&new));
        for supervisor in &*supervisors {
            // One message per reload: the mailbox's bound is not asked.
            supervisor.do_send(Reload(Arc::clone(&new)));
        }
        Ok(told)
    }
}

/// Says in the log how a reload went.
fn tell(outcome: &Outcome) {
    match outcome {
        Ok(Reloaded { changed, start_only, warnings }) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!(changed = changed.join(", "), "configuration reloaded");
            if !start_only.is_empty() {
                let keys = start_only.join(", ");
                tracing::warn!(keys, "these are read at the start only; restart the gateway to change them");
            }
        }
        Err(NotReloaded::Wrong(problems)) => {
            for problem in problems {
                tracing::error!(%problem, "the new configuration is not taken; the old one stays in force");
            }
        }
        Err(NotReloaded::Busy(_) | NotReloaded::Never(_) | NotReloaded::Late) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_change_come_or_go_look_different_and_nothing_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let look = || fingerprint(std::slice::from_ref(&file));
        let missing = look();
        std::fs::write(&file, "one").unwrap();
        let one = look();
        assert!(missing != one && one == look());
        // As long as before, and put in its place as orchestrators do it.
        std::fs::write(folder.path().join("b"), "two").unwrap();
        std::fs::rename(folder.path().join("b"), &file).unwrap();
        assert_ne!(look(), one);
        // It would take for ever to read.
        assert_ne!(fingerprint(&[PathBuf::from("/dev/zero")]), one);
    }

    #[tokio::test]
    async fn work_that_panics_is_none_and_stuck_work_is_bounded() {
        let readers = Readers::default();
        assert_eq!(readers.run(|| 7).await, Some(7));
        assert_eq!(readers.run(|| -> u8 { panic!("as asked") }).await, None);
        let mut gates = Vec::new();
        for _ in 0..READERS_MAX {
            let (gate, stuck) = std::sync::mpsc::channel::<()>();
            gates.push(gate);
            let stuck = readers.run(move || stuck.recv().is_err());
            // Begun, and not waited for.
            assert!(futures_util::FutureExt::now_or_never(stuck).is_none());
        }
        assert_eq!(readers.run(|| 7).await, None);
        drop(gates);
        while readers.run(|| 7).await.is_none() {
            tokio::task::yield_now().await;
        }
    }
}
