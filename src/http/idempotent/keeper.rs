//! Who keeps the store in step: one task for the process. It puts answers there, lets keys go, says that the process
//! lives, and removes what is old or too much.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use ulid::Ulid;

use super::super::door;
use super::records::{Records, millis};
use crate::policy::idempotency::{Answer, Digest, Table};
use crate::store::{Patience, Store};

/// How long claims hold when their process is not heard of.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How often it is heard of.
const BEAT: Duration = Duration::from_secs(4);
/// How often what is old is removed, and how many rows at a time.
const PURGE: Duration = Duration::from_secs(60);
const PURGE_ROWS: u32 = 500;
/// Batches at a time: requests wait for the same writer.
const PURGE_BATCHES: usize = 20;
/// Parts of the bound that are written before it is looked at again.
const PURGE_PARTS: u64 = 16;
/// What waits to be put into the store at most.
const JOBS_MAX: usize = 1_024;
/// What it means that the store fails.
const LOST: &str = "what is known of idempotency keys could not be stored";

/// Something to tell the store.
#[derive(Debug)]
pub(super) enum Job {
    Finish { name: Digest, token: Ulid, answer: Option<Arc<Answer>>, expires_ms: i64 },
    Release { name: Digest, token: Ulid },
    Flush(oneshot::Sender<()>),
}

/// The task, before it runs.
pub struct Keeper {
    store: Arc<dyn Store>,
    owner: Arc<str>,
    table: Arc<Table>,
    jobs: mpsc::Receiver<Job>,
    bytes_max: u64,
    /// Bytes written since it was last looked for what is too much.
    written: u64,
    purged: Instant,
    patience: Patience,
}

/// What requests ask, and who keeps it in step.
pub(super) fn start(store: Arc<dyn Store>, table: &Arc<Table>, bytes_max: u64) -> (Records, Keeper) {
    let (jobs, waiting) = mpsc::channel(JOBS_MAX);
    let owner: Arc<str> = Ulid::generate().to_string().into();
    let records = Records {
        store: Arc::clone(&store),
        owner: Arc::clone(&owner),
        jobs,
        life: table.rules().life,
        resting: Mutex::default(),
    };
    let keeper = Keeper {
        store,
        owner,
        table: Arc::clone(table),
        jobs: waiting,
        bytes_max,
        written: 0,
        purged: Instant::now(),
        patience: Patience::new(LOST),
    };
    (records, keeper)
}

impl Keeper {
    /// Runs for as long as the process.
    pub async fn run(mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => self.beat().await,
                job = self.jobs.recv() => match job {
                    Some(job) => self.tell(job).await,
                    None => return,
                },
            }
            if self.purged.elapsed() >= PURGE || self.written > self.bytes_max / PURGE_PARTS {
                self.purge().await;
            }
        }
    }

    async fn tell(&mut self, job: Job) {
        match job {
            Job::Finish { name, token, answer, expires_ms } => {
                self.written += answer.as_ref().map_or(0, |answer| answer.body.len() as u64);
                self.patience.wait(self.store.finish_answer(name, token, answer, expires_ms)).await;
            }
            Job::Release { name, token } => {
                self.patience.wait(self.store.release_answer(name, token)).await;
            }
            Job::Flush(done) => {
                let _ = done.send(());
            }
        }
    }

    async fn beat(&mut self) {
        if self.table.running() > 0 {
            let lease_ms = door::now_ms().saturating_add(millis(LEASE));
            self.patience.wait(self.store.extend_answers(&self.owner, lease_ms)).await;
        }
    }

    async fn purge(&mut self) {
        (self.purged, self.written) = (Instant::now(), 0);
        for _ in 0..PURGE_BATCHES {
            let removed = self
                .patience
                .wait(self.store.purge_answers(door::now_ms(), self.bytes_max, PURGE_ROWS))
                .await;
            if removed.is_none_or(|rows| rows < u64::from(PURGE_ROWS)) {
                return;
            }
        }
    }
}
