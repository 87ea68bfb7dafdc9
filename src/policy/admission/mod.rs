//! Admission: how many attempts a provider gets at a time, and who is next when it has as many as it takes.
//!
//! One [`Gate`] per provider, shared by all cells. Its limit adapts between a floor and a ceiling; beyond it callers
//! wait in a bounded queue and take turns by weight, or are shed at once with the time to come back.

mod adapt;
mod line;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::adapt::Adaptive;
use self::line::Line;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Batch work.
    Low,
    /// Most.
    #[default]
    Normal,
    /// Somebody waits.
    High,
}

impl Priority {
    /// Every word, from the least urgent.
    pub const WORDS: [&'static str; 3] = ["low", "normal", "high"];

    /// Reads a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Low, Self::Normal, Self::High].into_iter().find(|priority| priority.as_str() == word)
    }

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
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

/// The shortest and the longest that a call which is shed is told to wait.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How fast the mean length of an attempt follows.
const LENGTH: f64 = 0.1;

/// The gate of one provider, over all cells.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    in_flight: usize,
    /// As of the last time that somebody brought the rule.
    limit: usize,
    adaptive: Adaptive,
    line: Line,
    /// Mean seconds of an attempt.
    length_s: Option<f64>,
}

/// One attempt under way: frees its place when dropped, for whoever is next.
#[derive(Debug)]
#[must_use = "the place is free again when this drops"]
pub struct Permit(Option<Arc<Gate>>);

/// A place in the queue: the permit comes through it. Dropping it leaves the queue.
pub type Ticket = oneshot::Receiver<Permit>;

impl Gate {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one attempt in, if there is room and nobody waits.
    pub fn try_enter(self: &Arc<Self>, rule: &AdmissionRule) -> Option<Permit> {
        let mut inner = self.inner();
        inner.limit = inner.adaptive.limit(rule);
        if inner.in_flight >= inner.limit || inner.line.len() > 0 {
            return None;
        }
        inner.in_flight += 1;
        Some(Permit(Some(Arc::clone(self))))
    }

    /// Queues a call that may wait until `deadline`.
    ///
    /// # Errors
    /// Shed: the queue is full of others with as good a claim, or it would wait for too long.
    pub fn enqueue(
        self: &Arc<Self>,
        share: &Share,
        rule: &AdmissionRule,
        now: Instant,
        deadline: Instant,
    ) -> Result<Ticket, Shed> {
        let (permit, ticket) = oneshot::channel();
        {
            let mut inner = self.inner();
            inner.limit = inner.adaptive.limit(rule);
            let wait = inner.expected_wait(share);
            if wait > deadline.saturating_duration_since(now) {
                return Err(Shed { retry_after: wait.clamp(RETRY_MIN, RETRY_MAX) });
            }
            if inner.line.len() >= rule.queue {
                inner.line.sweep();
            }
            if inner.line.len() >= rule.queue && (rule.queue == 0 || !inner.line.make_room(share)) {
                return Err(Shed { retry_after: wait.clamp(RETRY_MIN, RETRY_MAX) });
            }
            inner.line.join(share, permit);
        }
        // There may be room by now.
        self.hand_over();
        Ok(ticket)
    }

    /// Adapts the limit to what an attempt says.
    pub fn observe(self: &Arc<Self>, seen: &Observation, rule: &AdmissionRule, now: Instant) {
        let more = {
            let mut inner = self.inner();
            let in_flight = inner.in_flight;
            inner.adaptive.observe(seen, in_flight, rule, now);
            let length = seen.duration.as_secs_f64();
            inner.length_s = Some(inner.length_s.map_or(length, |mean| mean + LENGTH * (length - mean)));
            let before = inner.limit;
            inner.limit = inner.adaptive.limit(rule);
            inner.limit > before
        };
        if more {
            self.hand_over();
        }
    }

    /// Takes over another rule: those who wait may have room by it.
    pub fn apply(self: &Arc<Self>, rule: &AdmissionRule) {
        {
            let mut inner = self.inner();
            inner.limit = inner.adaptive.limit(rule);
        }
        self.hand_over();
    }

    /// How full it is.
    pub fn load(&self, rule: &AdmissionRule) -> Load {
        let inner = self.inner();
        Load { in_flight: inner.in_flight, limit: inner.adaptive.limit(rule), queued: inner.line.len() }
    }

    /// Gives the free places to those who are next. In a loop, and outside the lock where a permit may drop.
    fn hand_over(self: &Arc<Self>) {
        loop {
            let next = {
                let mut inner = self.inner();
                if inner.in_flight >= inner.limit {
                    return;
                }
                let Some(next) = inner.line.next() else { return };
                inner.in_flight += 1;
                next
            };
            if let Err(mut permit) = next.send(Permit(Some(Arc::clone(self)))) {
                // It left this very moment: its place is the next one's.
                permit.0 = None;
                self.inner().in_flight -= 1;
            }
        }
    }
}

impl Inner {
    /// How long a call of this caller would wait, by the law of Little; nothing while no attempt has ended.
    fn expected_wait(&self, share: &Share) -> Duration {
        let turns = self.line.ahead(share) as f64 / self.limit.max(1) as f64;
        Duration::try_from_secs_f64(turns * self.length_s.unwrap_or(0.0)).unwrap_or(RETRY_MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.inner().in_flight -= 1;
            gate.hand_over();
        }
    }
}

#[cfg(test)]
mod tests;
