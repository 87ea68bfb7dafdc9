//! Admission: how many attempts a provider gets at a time, and who is next when it has as many as it takes.
//!
//! One [`Gate`] per provider, shared by all cells. Its limit adapts between a floor and a ceiling; beyond it callers
//! wait in a bounded queue and take turns by weight, or are shed at once with the time to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::health::Observation;
use crate::config::AdmissionRule;

/// Who waits, and how much of the turns is theirs.
#[derive(Clone, Debug)]
pub struct Share {
    /// Whose turn: the key's id.
    pub key: Arc<str>,
    /// Turns relative to others; at least 1.
    pub weight: u32,
    /// Before whom, within the weight.
    pub priority: Priority,
}

/// How urgent a call is, among those of all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Batch work.
    Low,
    /// Most.
    #[default]
    Normal,
    /// Somebody waits.
    High,
}

/// A call that is not let in and does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// When there may be room.
    pub retry_after: Duration,
}

/// How full a provider is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Attempts under way.
    pub in_flight: usize,
    /// Attempts that may be under way now.
    pub limit: usize,
    /// Calls that wait.
    pub queued: usize,
}

/// The gate of one provider, over all cells.
#[derive(Debug, Default)]
pub struct Gate {
    in_flight: AtomicUsize,
}

/// One attempt under way: frees its place when dropped, for whoever is next.
#[derive(Debug)]
#[must_use = "the place is free again when this drops"]
pub struct Permit(Arc<Gate>);

/// A place in the queue: the permit comes through it. Dropping it leaves the queue.
pub type Ticket = oneshot::Receiver<Permit>;

impl Gate {
    /// Lets one attempt in, if there is room and nobody waits.
    pub fn try_enter(self: &Arc<Self>, rule: &AdmissionRule, _now: Instant) -> Option<Permit> {
        let more = |count: usize| (count < rule.ceiling).then(|| count + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit(Arc::clone(self)))
    }

    /// Queues a call that may wait until `deadline`.
    ///
    /// # Errors
    /// Shed: the queue is full, or it would wait for too long.
    pub fn enqueue(
        self: &Arc<Self>,
        _share: &Share,
        _rule: &AdmissionRule,
        _now: Instant,
        _deadline: Instant,
    ) -> Result<Ticket, Shed> {
        Err(Shed { retry_after: Duration::from_secs(1) })
    }

    /// Adapts the limit to what an attempt says.
    pub fn observe(&self, _seen: &Observation, _rule: &AdmissionRule, _now: Instant) {}

    /// How full it is.
    pub fn load(&self, rule: &AdmissionRule) -> Load {
        Load { in_flight: self.in_flight.load(Ordering::Relaxed), limit: rule.ceiling, queued: 0 }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
