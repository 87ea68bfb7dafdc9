//! Numbers that change too often for messages: shared atomics, written on any thread and read by a scrape.
//!
//! Invariants: [`InFlight`] is counted down by a guard, so also on cancel and panic; [`Unsettled`] counts every
//! receipt that Billing holds in memory and the store has not booked yet.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cells::Cells;
use super::exporter::counts::ExportCounts;
use super::mailbox::Mailbox;
use crate::fleet::Fleet;
use crate::journal::Segments;

/// Receipts that Billing holds before outboxes keep theirs. One is 416 bytes and the text it refers to: some
/// 60 MB in all.
pub const UNSETTLED_MAX: u64 = 100_000;

/// The process's gauges. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Client calls being served.
    pub in_flight: InFlight,
    /// Receipts that Billing holds in memory.
    pub unsettled: Unsettled,
    /// What is written of receipts that are not in the store.
    pub journal: Arc<Segments>,
    /// Whether the store takes what Billing gives it.
    pub store_up: StoreUp,
    /// How the last reload went.
    pub config: ConfigState,
    /// Whether there is memory for new calls.
    pub memory: MemoryState,
    /// What is shared with other replicas, once it is; empty where nothing is.
    pub fleet: Arc<OnceLock<Fleet>>,
    /// What became of requests with an idempotency key.
    pub idempotency: IdempotencyCounts,
    /// Thresholds of budgets that were told of.
    pub alerts: AlertCounts,
    /// What each cell counts.
    pub cells: Cells,
    /// Batches on their way to Billing.
    pub billing: Mailbox,
    /// Batches on their way to Metrics.
    pub metrics: Mailbox,
    /// Whether the process ends.
    pub drain: DrainState,
    /// Calls whose bodies were stored, and those whose were not.
    pub logged: LogCounts,
    /// Spans and points that the collector was sent, and those that it was not.
    pub exported: ExportCounts,
}

impl Gauges {
    /// Receipts that are not in the store, wherever they wait.
    pub fn unsettled_receipts(&self) -> u64 {
        self.unsettled.alone().saturating_add(self.journal.unsettled())
    }

    /// Seconds since the oldest receipt of the journal ended that is not in the store.
    pub fn journal_lag_s(&self) -> i64 {
        self.journal.oldest_ms().map_or(0, |oldest_ms| (seconds() - oldest_ms / 1_000).max(0))
    }
}

/// What became of a request with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotent {
    /// It ran.
    Started,
    /// It ran, and other replicas do not know: the store did not answer.
    Local,
    /// It joined the same request.
    Joined,
    /// It got the answer of the same request.
    Replayed,
    /// It was refused.
    Conflict,
}

impl Idempotent {
    /// All of them, with the labels of their series.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Started, "started"),
        (Self::Local, "local"),
        (Self::Joined, "joined"),
        (Self::Replayed, "replayed"),
        (Self::Conflict, "conflict"),
    ];
}

/// Requests with an idempotency key, by what became of them.
#[derive(Clone, Debug, Default)]
pub struct IdempotencyCounts(Arc<[AtomicU64; 5]>);

impl IdempotencyCounts {
    /// Counts one.
    pub fn count(&self, what: Idempotent) {
        if let Some(count) = self.0.get(what as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, what: Idempotent) -> u64 {
        self.0.get(what as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// Why the bodies of a call were not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLogged {
    /// Too many waited.
    Queue,
    /// The store did not take them.
    Store,
}

impl NotLogged {
    /// All of them, with the labels of their series.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Queue, "queue"), (Self::Store, "store")];
}

/// Calls whose bodies were stored, and those whose were not.
#[derive(Clone, Debug, Default)]
pub struct LogCounts(Arc<(AtomicU64, [AtomicU64; 2])>);

impl LogCounts {
    /// So many were stored.
    pub fn stored(&self, calls: usize) {
        self.0.0.fetch_add(calls as u64, Ordering::Relaxed);
    }

    /// So many were not.
    pub fn dropped(&self, why: NotLogged, calls: usize) {
        if let Some(count) = self.0.1.get(why as usize) {
            count.fetch_add(calls as u64, Ordering::Relaxed);
        }
    }

    /// How many were stored.
    pub fn get_stored(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// How many were not.
    pub fn get_dropped(&self, why: NotLogged) -> u64 {
        self.0.1.get(why as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
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

/// Since when the process ends, if it does.
#[derive(Clone, Debug, Default)]
pub struct DrainState(Arc<OnceLock<Instant>>);

impl DrainState {
    /// It ends from now on; the first time counts.
    pub fn begin(&self) {
        let _ = self.0.set(Instant::now());
    }

    /// How long it has been ending; nothing before.
    pub fn elapsed(&self) -> Duration {
        self.0.get().map_or(Duration::ZERO, Instant::elapsed)
    }
}

/// Calls in flight, of the process or of a part of it; connections that are open are counted so, too.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<InFlightCount>);

#[derive(Debug, Default)]
struct InFlightCount {
    own: AtomicI64,
    /// What this is a part of.
    whole: Option<InFlight>,
}

/// One call in flight: counts down when dropped.
#[derive(Debug)]
#[must_use = "the call counts as ended when this drops"]
pub struct InFlightGuard(InFlight);

impl InFlight {
    /// A part that counts for itself and for the whole.
    pub fn part(&self) -> Self {
        Self(Arc::new(InFlightCount { own: AtomicI64::new(0), whole: Some(self.clone()) }))
    }

    /// Counts one call until the guard drops.
    pub fn enter(&self) -> InFlightGuard {
        self.add(1);
        InFlightGuard(self.clone())
    }

    fn add(&self, calls: i64) {
        self.0.own.fetch_add(calls, Ordering::Relaxed);
        if let Some(whole) = &self.0.whole {
            whole.add(calls);
        }
    }

    /// Calls in flight now.
    pub fn get(&self) -> i64 {
        self.0.own.load(Ordering::Relaxed)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Receipts in Billing's memory on their way to the store.
#[derive(Clone, Debug, Default)]
pub struct Unsettled(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Those that are nowhere else.
    alone: AtomicU64,
    /// Those that the journal has, too.
    journalled: AtomicU64,
}

impl Unsettled {
    /// Receipts in memory.
    pub fn get(&self) -> u64 {
        self.alone().saturating_add(self.0.journalled.load(Ordering::Relaxed))
    }

    /// Those of them that are in memory alone: a process that dies loses them.
    pub fn alone(&self) -> u64 {
        self.0.alone.load(Ordering::Relaxed)
    }

    /// True when Billing should be given no more.
    pub fn is_full(&self) -> bool {
        self.get() >= UNSETTLED_MAX
    }

    /// Billing took `count` receipts that are nowhere else.
    pub fn add(&self, count: usize) {
        self.0.alone.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The store booked `count` of those.
    pub fn sub(&self, count: usize) {
        less(&self.0.alone, count);
    }

    /// Billing took `count` receipts that are in the journal.
    pub fn add_journalled(&self, count: usize) {
        self.0.journalled.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The store booked `count` of those, or Billing let go of them.
    pub fn sub_journalled(&self, count: usize) {
        less(&self.0.journalled, count);
    }
}

/// Counts down, to nothing at most.
fn less(number: &AtomicU64, count: usize) {
    let _ = number
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(count as u64)));
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
