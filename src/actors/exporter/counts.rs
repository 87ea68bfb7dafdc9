//! What was sent to the collector, and what was not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Points of metrics.
    Metrics,
}

impl Signal {
    /// All of them, with the labels of their series.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Traces, "traces"), (Self::Metrics, "metrics")];

    /// Where it goes, below the endpoint.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }
}

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Too much waited.
    Queue,
    /// The collector does not want it.
    Refused,
    /// The collector could not be reached, or did not take it, however often it was tried.
    Unreachable,
}

impl Dropped {
    /// All of them, with the labels of their series.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Queue, "queue"), (Self::Refused, "refused"), (Self::Unreachable, "unreachable")];
}

/// Items that were sent, and those that were not. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct ExportCounts(Arc<[Counts; 2]>);

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: [AtomicU64; 3],
}

impl ExportCounts {
    fn of(&self, signal: Signal) -> &Counts {
        let [traces, metrics] = &*self.0;
        match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
        }
    }

    /// So many were taken.
    pub fn exported(&self, signal: Signal, items: u64) {
        self.of(signal).exported.fetch_add(items, Ordering::Relaxed);
    }

    /// So many were not; gives how many there were before, all together.
    pub fn dropped(&self, signal: Signal, why: Dropped, items: u64) -> u64 {
        let counts = &self.of(signal).dropped;
        counts.get(why as usize).map_or(0, |count| count.fetch_add(items, Ordering::Relaxed))
    }

    /// Those that were taken.
    pub fn get(&self, signal: Signal) -> u64 {
        self.of(signal).exported.load(Ordering::Relaxed)
    }

    /// Those that were not, for this reason.
    pub fn get_dropped(&self, signal: Signal, why: Dropped) -> u64 {
        self.of(signal).dropped.get(why as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
