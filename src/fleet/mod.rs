//! What replicas share over Redis: leased budgets, leased quotas, word of changed keys.
//!
//! Per budget and period Redis keeps one hash: what the ledger says was spent (`base`), and per replica what it may spend
//! in all (`have`), has spent, and has settled in the ledger. What is left is the limit less the base and everybody's
//! `have`. A replica reports absolute, numbered amounts and is granted more in the same script ([`lease`]), so that a
//! report that is lost, late or repeated counts once. Nobody waits for Redis on a request's path but for a call that a
//! lease in hand does not cover, and for that no longer than `redis.timeout`.
//!
//! What is kept in Redis may go: it is flushed, put back to an old snapshot, or fails over to a server that had not heard
//! the last writes. A hash that is missing, older than known, or kept by another server process is rebuilt: nothing is
//! granted until everybody had the time to tell what it holds; then one replica reads the ledger and writes the base.
//! The sum is read after the amounts settled were told, so that what is settled in between counts twice for a moment
//! and never not at all.
//!
//! So it is known how much too little may seem to be left: the doubt. Only who could not be served even with that is
//! told that the budget is spent. What a replica held that has been silent is part of it, for a minute.
//!
//! The bound. With Redis and the replicas alive, no more is sold than the limit. Beyond it can be sold: what a replica
//! holds that is cut off from Redis while that forgets and is rebuilt; what one that died had not settled when that
//! happens; with `on_loss: local_share` the share that each takes while Redis is gone.

pub mod address;
mod budgets;
pub mod lease;
pub mod link;
mod quotas;
mod reserve;
pub mod script;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use address::Address;
use budgets::Budgets;
pub use budgets::{Allowance, Exposure, Payer, Sum, Sums};
use link::{Link, Traffic};
use quotas::Quotas;
pub use reserve::Refusal;
use script::{BEAT, Call, numbers};

/// How often what is leased is looked at.
pub const TICK: Duration = Duration::from_millis(250);
/// How often a replica says that it lives.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A replica that is silent for so long does not count.
const ALIVE_MS: i64 = 5_000;
/// A replica that was the only one for so long need not wait for others to tell what they hold.
const ALONE_AFTER: Duration = Duration::from_secs(6);
/// How long a channel that cannot be heard is left alone.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What is done while Redis is gone and nothing is in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// Each replica takes its part of what was left.
    LocalShare,
    /// Nothing more is admitted.
    Deny,
}

impl OnLoss {
    /// The words of the configuration.
    pub const WORDS: [&'static str; 2] = ["local_share", "deny"];

    /// The reverse of a word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "local_share" => Some(Self::LocalShare),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }
}

/// How a fleet finds its Redis.
#[derive(Clone)]
pub struct Setup {
    /// Where it is.
    pub address: Address,
    /// The longest that a call of it takes.
    pub timeout: Duration,
    /// What is done while it is gone.
    pub on_loss: OnLoss,
    /// What its keys begin with.
    pub prefix: String,
    /// This process, unlike every other and every earlier one; without a dot or a space.
    pub boot: String,
}

/// This process as one of several that share budgets and quotas. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Shared>);

struct Shared {
    setup: Setup,
    link: Link,
    replicas: AtomicU32,
    /// When another replica was last known of, or this one began.
    company: Mutex<Instant>,
    quotas: Quotas,
    budgets: Budgets,
    /// Keys have changed here.
    changed: Notify,
    /// Counts the words of changes made anywhere.
    heard: watch::Sender<u64>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("boot", &self.0.setup.boot).finish_non_exhaustive()
    }
}

impl Fleet {
    /// One that is not connected before [`Fleet::run`] runs.
    pub fn new(setup: Setup) -> Self {
        Self(Arc::new(Shared {
            link: Link::new(setup.address.clone(), setup.timeout),
            setup,
            replicas: AtomicU32::new(1),
            company: Mutex::new(Instant::now()),
            quotas: Quotas::default(),
            budgets: Budgets::default(),
            changed: Notify::new(),
            heard: watch::channel(0).0,
        }))
    }

    /// Connects, ticks, beats, listens; for ever. `sums` reads the ledger.
    pub async fn run(&self, sums: &dyn Sums) {
        tokio::join!(
            self.0.link.run(),
            self.tick_for_ever(sums),
            self.work(sums),
            self.beat(),
            self.tell(),
            self.listen()
        );
    }

    /// Says that keys or groups have changed: the others look at once.
    pub fn changed(&self) {
        self.0.changed.notify_one();
    }

    /// Counts up when keys or groups have changed somewhere.
    pub fn heard(&self) -> watch::Receiver<u64> {
        self.0.heard.subscribe()
    }

    /// True while Redis answers.
    pub fn is_up(&self) -> bool {
        self.0.link.is_up()
    }

    /// Replicas that live, this one among them, as last known.
    pub fn replicas(&self) -> u32 {
        self.0.replicas.load(Ordering::Relaxed)
    }

    /// True when no other replica was known of for so long that none can hold anything it would tell.
    fn is_alone(&self) -> bool {
        let company = *self.0.company.lock().unwrap_or_else(PoisonError::into_inner);
        company.elapsed() >= ALONE_AFTER
    }

    /// What was asked of Redis since the start.
    pub fn traffic(&self) -> Traffic {
        self.0.link.traffic()
    }

    /// Gives back what is held and leaves. All receipts should be in the ledger by now.
    pub async fn leave(&self, now_ms: i64) {
        self.give_back_quotas().await;
        self.give_back_budgets(now_ms).await;
        let _ = self.0.link.call(&self.beat_call(0)).await;
    }

    async fn tick_for_ever(&self, sums: &dyn Sums) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tokio::join!(self.tick_quotas(), self.tick_budgets(sums));
        }
    }

    fn beat_call(&self, stay: i64) -> Call {
        let key = format!("{}:replicas", self.0.setup.prefix);
        Call::new(&BEAT, key).text(&self.0.setup.boot).number(ALIVE_MS).number(stay)
    }

    async fn beat(&self) {
        loop {
            if let Ok(answer) = self.0.link.call(&self.beat_call(1)).await
                && let Some(live) = numbers(&answer).first().and_then(|live| u32::try_from(*live).ok())
            {
                self.0.replicas.store(live.max(1), Ordering::Relaxed);
                if live > 1 {
                    *self.0.company.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                }
                sleep(BEAT_EVERY).await;
            } else {
                sleep(TICK).await;
            }
        }
    }

    fn channel(&self) -> String {
        format!("{}:changed", self.0.setup.prefix)
    }

    async fn tell(&self) {
        loop {
            self.0.changed.notified().await;
            // Whoever does not hear it looks every two seconds.
            if self.0.link.publish(&self.channel()).await.is_err() {
                sleep(BEAT_EVERY).await;
                let _ = self.0.link.publish(&self.channel()).await;
            }
        }
    }

    async fn listen(&self) {
        loop {
            self.0.link.listen(&self.channel(), || self.0.heard.send_modify(|count| *count += 1)).await;
            sleep(LISTEN_AGAIN).await;
        }
    }
}
