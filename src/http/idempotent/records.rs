//! What the store knows of keys: asked before a request leads, told when it is over.
//!
//! A store that does not answer within [`PATIENCE`] is not asked for [`REST`]: requests go on without it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use ulid::Ulid;

use super::super::door;
use super::Named;
use super::keeper::{Job, LEASE};
use crate::policy::idempotency::{Answer, Digest};
use crate::store::{Claim, Held, Store, StoreFuture};

/// How long the store may take to answer a request that waits for it.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it is not asked after it did not.
const REST: Duration = Duration::from_secs(2);
/// How often one looks who waits for another replica's answer: at first, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MOST: Duration = Duration::from_millis(250);
/// How long a claim may outlast its request's deadline.
const MARGIN: Duration = Duration::from_secs(30);

/// The store, as requests ask it.
pub(super) struct Records {
    pub(super) store: Arc<dyn Store>,
    /// This process, since its start.
    pub(super) owner: Arc<str>,
    pub(super) jobs: mpsc::Sender<Job>,
    /// How long an answer is kept.
    pub(super) life: Duration,
    /// Until when the store is not asked.
    pub(super) resting: Mutex<Option<Instant>>,
}

/// What the store says to a request.
pub(super) enum Claimed {
    /// It may run.
    Mine(Record),
    /// The store does not answer.
    Local,
    /// It was answered, and is kept for so long.
    Done(Arc<Answer>, Duration),
    /// It was answered, with more than is kept.
    NotKept,
    /// The key was used for another.
    Other,
    /// It runs elsewhere, longer than the request may wait.
    TooLate,
}

impl Records {
    /// Claims a key; while it runs on another replica, waits for what comes of that.
    pub(super) async fn claim(&self, named: Named, key_id: &Arc<str>, deadline: Instant) -> Claimed {
        let token = Ulid::generate();
        // A claim may have arrived whose answer did not: whatever happens, it is let go.
        let record = || Record { name: named.name, token, life: self.life, jobs: Some(self.jobs.clone()) };
        loop {
            let now_ms = door::now_ms();
            let left = deadline.saturating_duration_since(Instant::now());
            let claim = Claim {
                name: named.name,
                fingerprint: named.fingerprint,
                key_id: Arc::clone(key_id),
                owner: Arc::clone(&self.owner),
                token,
                now_ms,
                lease_ms: now_ms.saturating_add(millis(LEASE)),
                deadline_ms: now_ms.saturating_add(millis(left + MARGIN)),
            };
            if self.rests() {
                return Claimed::Local;
            }
            let record = record();
            match self.answered(self.store.claim_answer(&claim)).await {
                Some(Held::Mine) => return Claimed::Mine(record),
                Some(Held::Done(answer, until_ms)) => {
                    return Claimed::done(answer, until_ms, now_ms).without(record);
                }
                Some(Held::NotKept) => return Claimed::NotKept.without(record),
                Some(Held::Other) => return Claimed::Other.without(record),
                Some(Held::Running) => record.forget(),
                None => return Claimed::Local,
            }
            if let Some(ended) = self.wait(named, deadline).await {
                return ended;
            }
        }
    }

    /// Waits until a key that runs elsewhere may be claimed, or has its answer.
    async fn wait(&self, named: Named, deadline: Instant) -> Option<Claimed> {
        let mut pause = LOOK_FIRST;
        let mut heard = Instant::now();
        loop {
            if Instant::now() + pause >= deadline {
                return Some(Claimed::TooLate);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MOST);
            let now_ms = door::now_ms();
            let fetched = self.store.fetch_answer(named.name, named.fingerprint, now_ms);
            match self.answered(fetched).await {
                Some(Some(Held::Running)) => heard = Instant::now(),
                // Who ran it may be gone by now; nobody can say.
                None if heard.elapsed() > LEASE => return Some(Claimed::Local),
                None => {}
                Some(Some(Held::Done(answer, until_ms))) => {
                    return Some(Claimed::done(answer, until_ms, now_ms));
                }
                Some(_) => return None,
            }
        }
    }

    /// What the store answers in time.
    async fn answered<T>(&self, asked: StoreFuture<'_, T>) -> Option<T> {
        let why = match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes too long to answer".to_owned(),
        };
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let news = resting.is_none();
        *resting = Some(Instant::now() + REST);
        if news {
            tracing::warn!("idempotency keys are known to this process alone: {why}");
        }
        None
    }

    /// True while the store is not asked.
    fn rests(&self) -> bool {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        match *resting {
            Some(until) if Instant::now() < until => true,
            _ => {
                *resting = None;
                false
            }
        }
    }

    /// Waits until the store was told all.
    pub(super) async fn flush(&self) {
        let (done, told) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            let _ = told.await;
        }
    }
}

impl Claimed {
    fn done(answer: Arc<Answer>, until_ms: i64, now_ms: i64) -> Self {
        let left = u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0);
        Self::Done(answer, Duration::from_millis(left))
    }

    /// This, and the claim is none.
    fn without(self, record: Record) -> Self {
        record.forget();
        self
    }
}

/// A duration as the store counts.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A claim of this process. Dropping it lets the key go.
#[derive(Debug)]
pub(super) struct Record {
    name: Digest,
    token: Ulid,
    life: Duration,
    jobs: Option<mpsc::Sender<Job>>,
}

impl Record {
    /// The answer is there; `None`: it is too large to keep.
    pub(super) fn finish(mut self, answer: Option<Arc<Answer>>) {
        let expires_ms = door::now_ms().saturating_add(millis(self.life));
        let job = Job::Finish { name: self.name, token: self.token, answer, expires_ms };
        if let Some(jobs) = self.jobs.take()
            && jobs.try_send(job).is_err()
        {
            tracing::warn!("an answer was not stored: too many wait for the store");
        }
    }

    /// It was none.
    fn forget(mut self) {
        self.jobs = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(jobs) = self.jobs.take() {
            // Without room its lease ends, at its deadline at the latest.
            let _ = jobs.try_send(Job::Release { name: self.name, token: self.token });
        }
    }
}
