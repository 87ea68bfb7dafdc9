//! Numbers that change too often for messages: shared atomics, written on any thread and read by a scrape.
//!
//! Invariants: [`InFlight`] is counted down by a guard, so also on cancel and panic; [`Unsettled`] counts every
//! receipt that Billing has taken and the store has not booked yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Receipts that Billing holds before outboxes keep theirs. One is 416 bytes and the text it refers to: some
/// 60 MB in all.
pub const UNSETTLED_MAX: u64 = 100_000;

/// The process's gauges. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Client calls being served.
    pub in_flight: InFlight,
    /// Receipts taken by Billing and not yet in the store.
    pub unsettled: Unsettled,
    /// Whether the store takes what Billing gives it.
    pub store_up: StoreUp,
    /// How the last reload went.
    pub config: ConfigState,
    /// Whether there is memory for new calls.
    pub memory: MemoryState,
    /// Thresholds of budgets that were told of.
    pub alerts: AlertCounts,
}

/// How many thresholds of budgets were told of, and how many messages the webhook did not take.
#[derive(Clone, Debug, Default)]
pub struct AlertCounts(Arc<(AtomicU64, AtomicU64)>);

impl AlertCounts {
    /// One was passed, and this process tells of it.
    pub fn told(&self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was not delivered.
    pub fn failed(&self) {
        self.0.1.fetch_add(1, Ordering::Relaxed);
    }

    /// Those told of, and messages not delivered.
    pub fn get(&self) -> (u64, u64) {
        (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed))
    }
}

/// Whether the process has as much memory as it may have.
#[derive(Clone, Debug, Default)]
pub struct MemoryState(Arc<AtomicBool>);

impl MemoryState {
    /// True when new calls are not taken.
    pub fn is_tight(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes how it is; true when that is news.
    pub fn set(&self, tight: bool) -> bool {
        self.0.swap(tight, Ordering::Relaxed) != tight
    }
}

/// How the last reload of the configuration went, and when the last good one was; a start is one.
#[derive(Clone, Debug)]
pub struct ConfigState(Arc<(AtomicBool, AtomicI64)>);

impl Default for ConfigState {
    fn default() -> Self {
        Self(Arc::new((AtomicBool::new(true), AtomicI64::new(seconds()))))
    }
}

/// Seconds since the epoch.
fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl ConfigState {
    /// Notes how a reload ended.
    pub fn reloaded(&self, well: bool) {
        self.0.0.store(well, Ordering::Relaxed);
        if well {
            self.0.1.store(seconds(), Ordering::Relaxed);
        }
    }

    /// Whether the last one went well.
    pub fn well(&self) -> bool {
        self.0.0.load(Ordering::Relaxed)
    }

    /// When the last good one was, seconds since the epoch.
    pub fn since_s(&self) -> i64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// Calls in flight, over all cells.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<AtomicI64>);

/// One call in flight: counts down when dropped.
#[derive(Debug)]
#[must_use = "the call counts as ended when this drops"]
pub struct InFlightGuard(Arc<AtomicI64>);

impl InFlight {
    /// Counts one call until the guard drops.
    pub fn enter(&self) -> InFlightGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(Arc::clone(&self.0))
    }

    /// Calls in flight now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Receipts on their way to the store; a watch, so that a flush can wait for none.
#[derive(Clone, Debug)]
pub struct Unsettled(Arc<watch::Sender<u64>>);

impl Default for Unsettled {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Unsettled {
    /// Receipts not yet settled.
    pub fn get(&self) -> u64 {
        *self.0.borrow()
    }

    /// True when Billing should be given no more.
    pub fn is_full(&self) -> bool {
        self.get() >= UNSETTLED_MAX
    }

    /// Billing took `count` receipts.
    pub fn add(&self, count: usize) {
        self.0.send_modify(|held| *held = held.saturating_add(count as u64));
    }

    /// The store booked `count` receipts.
    pub fn sub(&self, count: usize) {
        self.0.send_modify(|held| *held = held.saturating_sub(count as u64));
    }

    /// Waits until there are none.
    pub async fn none(&self) {
        // The sender lives as long as `self`: the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|held| *held == 0).await;
    }
}

/// Whether the last settlement reached the store; true until one fails.
#[derive(Clone, Debug)]
pub struct StoreUp(Arc<AtomicBool>);

impl Default for StoreUp {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl StoreUp {
    /// What the last settlement said.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes how a settlement ended; true when that is news.
    pub fn set(&self, up: bool) -> bool {
        self.0.swap(up, Ordering::Relaxed) != up
    }
}
