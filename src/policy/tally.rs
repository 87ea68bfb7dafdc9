//! What is counted of a provider beside its receipts: attempts made again, hedges, ejections, time in its queue; and the
//! ways that calls took from one provider to another.
//!
//! Shared atomics, counted at the moment when it happens: a call that is cancelled afterwards has counted, and nobody is
//! woken. All of it is rare beside the attempts themselves. It starts anew with an account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;

/// Upper bounds of what is told of time in a queue, seconds: 1 ms to a minute.
pub const QUEUE_WAIT_BOUNDS_S: &[f64; 13] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Why an attempt was made again at the same target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The pooled connection had been closed.
    StaleConnection,
    /// The provider limits the credential; another one was taken.
    RateLimited,
    /// The provider refuses the credential; another one was taken.
    Refused,
}

impl Retry {
    /// All of them, with their words.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::StaleConnection, "stale_connection"),
        (Self::RateLimited, "upstream_rate_limited"),
        (Self::Refused, "upstream_auth"),
    ];
}

/// What becomes of an attempt beside a slow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedged {
    /// It runs.
    Started,
    /// Its answer was used.
    Won,
    /// It was not.
    Lost,
}

impl Hedged {
    /// All of them, with their words.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Started, "started"), (Self::Won, "won"), (Self::Lost, "lost")];
}

/// Why a target is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ejection {
    /// It failed so many times in a row.
    #[default]
    ConsecutiveFailures,
    /// Too many of its attempts failed.
    FailureRate,
    /// Too many of its answers began late.
    SlowRate,
    /// It was to be asked again, and the probe failed.
    ProbeFailed,
    /// Its provider said to wait.
    Told,
    /// Probes of its provider's health fail.
    HealthProbe,
}

impl Ejection {
    /// All of them, with their words.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::ConsecutiveFailures, "consecutive_failures"),
        (Self::FailureRate, "failure_rate"),
        (Self::SlowRate, "slow_rate"),
        (Self::ProbeFailed, "probe_failed"),
        (Self::Told, "told"),
        (Self::HealthProbe, "health_probe"),
    ];
}

/// Times in a queue, by [`QUEUE_WAIT_BOUNDS_S`].
#[derive(Debug, Default)]
struct Waits {
    /// One more than there are bounds: the last is of those above all of them.
    counts: [AtomicU64; QUEUE_WAIT_BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

/// The counts of one provider.
#[derive(Debug, Default)]
pub struct Tally {
    retries: [AtomicU64; Retry::ALL.len()],
    hedges: [AtomicU64; Hedged::ALL.len()],
    ejections: [AtomicU64; Ejection::ALL.len()],
    unpaid: AtomicU64,
    queue_timeouts: AtomicU64,
    waits: Waits,
}

fn count(counts: &[AtomicU64], at: usize) {
    if let Some(count) = counts.get(at) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn read(counts: &[AtomicU64], at: usize) -> u64 {
    counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed))
}

impl Tally {
    /// An attempt was made again at the same target.
    pub fn retried(&self, why: Retry) {
        count(&self.retries, why as usize);
    }

    /// An attempt beside a slow one began or ended.
    pub fn hedged(&self, what: Hedged) {
        count(&self.hedges, what as usize);
    }

    /// A target is not asked for a while.
    pub fn ejected(&self, why: Ejection) {
        count(&self.ejections, why as usize);
    }

    /// A further attempt was not made: the retry budget is spent.
    pub fn unpaid(&self) {
        self.unpaid.fetch_add(1, Ordering::Relaxed);
    }

    /// A call left the queue without being let in.
    pub fn queue_timed_out(&self) {
        self.queue_timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// A call was let in after this time in the queue.
    pub fn queue_waited(&self, waited: Duration) {
        let seconds = waited.as_secs_f64();
        count(&self.waits.counts, QUEUE_WAIT_BOUNDS_S.partition_point(|bound| seconds > *bound));
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waits.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Attempts made again, by reason.
    pub fn retries(&self) -> [(&'static str, u64); Retry::ALL.len()] {
        Retry::ALL.map(|(why, word)| (word, read(&self.retries, why as usize)))
    }

    /// Attempts beside slow ones, by what became of them.
    pub fn hedges(&self) -> [(&'static str, u64); Hedged::ALL.len()] {
        Hedged::ALL.map(|(what, word)| (word, read(&self.hedges, what as usize)))
    }

    /// Targets that were ejected, by reason.
    pub fn ejections(&self) -> [(&'static str, u64); Ejection::ALL.len()] {
        Ejection::ALL.map(|(why, word)| (word, read(&self.ejections, why as usize)))
    }

    /// Further attempts that were not made.
    pub fn unpaid_attempts(&self) -> u64 {
        self.unpaid.load(Ordering::Relaxed)
    }

    /// Calls that left the queue without being let in.
    pub fn queue_timeouts(&self) -> u64 {
        self.queue_timeouts.load(Ordering::Relaxed)
    }

    /// Times in the queue: how many fell under each bound and not under the one before, the last above all; and their
    /// sum, seconds.
    pub fn queue_waits(&self) -> ([u64; QUEUE_WAIT_BOUNDS_S.len() + 1], f64) {
        let counts = std::array::from_fn(|at| read(&self.waits.counts, at));
        (counts, self.waits.sum_us.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

/// Combinations of providers and a reason that are counted apart at most, but for a race.
pub const WAYS_MAX: usize = 1_000;

/// From where, to where, why.
type Way = (Arc<str>, Arc<str>, &'static str);

/// The ways that calls took from one provider to another.
#[derive(Debug, Default)]
pub struct Failovers(DashMap<Way, u64>);

impl Failovers {
    /// A call went on. Reasons are words of a fixed table; names beyond the bound are `other`.
    pub fn count(&self, from: &Arc<str>, to: &Arc<str>, why: &'static str) {
        let way = (Arc::clone(from), Arc::clone(to), why);
        if let Some(mut count) = self.0.get_mut(&way) {
            *count += 1;
            return;
        }
        let other = || Arc::<str>::from("other");
        let way = if self.0.len() < WAYS_MAX { way } else { (other(), other(), why) };
        *self.0.entry(way).or_default() += 1;
    }

    /// Each way and how many calls took it.
    pub fn each(&self, mut see: impl FnMut(&str, &str, &'static str, u64)) {
        self.0.iter().for_each(|way| {
            let (from, to, why) = way.key();
            see(from, to, why, *way.value());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_counts_in_its_own_place() {
        let tally = Tally::default();
        for (at, (why, _)) in Ejection::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
            (0..=at).for_each(|_| tally.ejected(why));
        }
        Retry::ALL.into_iter().enumerate().for_each(|(at, (why, _))| assert_eq!(why as usize, at));
        Hedged::ALL.into_iter().enumerate().for_each(|(at, (what, _))| assert_eq!(what as usize, at));
        assert_eq!(tally.ejections().map(|(_, count)| count), [1, 2, 3, 4, 5, 6]);
        tally.retried(Retry::Refused);
        tally.hedged(Hedged::Won);
        assert_eq!(tally.retries()[2], ("upstream_auth", 1));
        assert_eq!(tally.hedges()[1], ("won", 1));
    }

    #[test]
    fn a_time_in_the_queue_falls_under_the_first_bound_that_it_does_not_exceed() {
        let tally = Tally::default();
        for ms in [0, 1, 2, 60_000, 60_001] {
            tally.queue_waited(Duration::from_millis(ms));
        }
        let (counts, sum_s) = tally.queue_waits();
        assert_eq!((counts[0], counts[1], counts[12], counts[13]), (2, 1, 1, 1));
        assert!((sum_s - 120.004).abs() < 1e-9, "{sum_s}");
    }

    #[test]
    fn ways_are_bounded_and_none_is_lost() {
        let failovers = Failovers::default();
        let name = |number: usize| Arc::<str>::from(format!("p{number}"));
        for number in 0..10_000 {
            failovers.count(&name(number), &name(number + 1), "timeout");
        }
        failovers.count(&name(0), &name(1), "timeout");
        let (mut ways, mut sum, mut first) = (0, 0, 0);
        failovers.each(|from, _, _, count| {
            (ways, sum) = (ways + 1, sum + count);
            first += if from == "p0" { count } else { 0 };
        });
        assert_eq!((ways, sum, first), (WAYS_MAX + 1, 10_001, 2));
    }
}
