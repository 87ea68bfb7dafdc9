//! The last minute: what ended in each of its seconds. Pure, and of one size whatever the load.
//!
//! Why beside the series: a page that shows rates and quantiles has no Prometheus to ask for them.

use crate::money::Usd;
use crate::receipt::{CallRecord, Outcome, Receipt};

/// Seconds that are shown, all of them over.
pub const WINDOW_S: u64 = 60;
/// Seconds that are kept: those shown, the running one, and some for readers that come late.
const KEPT: u64 = 64;
/// Durations below this are one, microseconds.
const SHORTEST_US: u64 = 64;
/// Parts of a doubling: a quantile is off by at most a sixteenth.
const PARTS_BITS: u32 = 3;
/// Doublings from [`SHORTEST_US`]: up to 19 hours.
const DOUBLINGS: usize = 30;
const BUCKETS: usize = DOUBLINGS << PARTS_BITS;

/// Counts of durations, each bucket an eighth of a doubling.
#[derive(Clone)]
struct Durations(Box<[u32; BUCKETS]>);

impl Durations {
    fn new() -> Self {
        Self(Box::new([0; BUCKETS]))
    }

    fn count(&mut self, us: u64) {
        let us = us.max(SHORTEST_US);
        let doubling = us.ilog2();
        let part = (us >> (doubling - PARTS_BITS)) & ((1 << PARTS_BITS) - 1);
        let bucket = (u64::from(doubling - SHORTEST_US.ilog2()) << PARTS_BITS) | part;
        let bucket = usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1);
        if let Some(count) = self.0.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0.iter()) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// The duration that `percent` of all do not exceed, microseconds: the middle of its bucket.
    fn quantile(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        let doubling = SHORTEST_US.ilog2() + u32::try_from(bucket >> PARTS_BITS).ok()?;
        let part = (bucket as u64) & ((1 << PARTS_BITS) - 1);
        let width = 1 << (doubling - PARTS_BITS);
        Some(((1 << PARTS_BITS) | part) * width + width / 2)
    }
}

/// What ended in one second.
#[derive(Clone)]
struct Second {
    at: u64,
    calls: u32,
    failed: u32,
    charged: i128,
    duration: Durations,
    first_token: Durations,
}

impl Second {
    fn new(at: u64) -> Self {
        let (duration, first_token) = (Durations::new(), Durations::new());
        Self { at, calls: 0, failed: 0, charged: 0, duration, first_token }
    }
}

/// The seconds, counted from the start of the process.
pub(super) struct Recent(Vec<Second>);

impl Recent {
    pub(super) fn new() -> Self {
        Self((0..KEPT).map(Second::new).collect())
    }

    /// The counts of this second, emptied if they were of an earlier one.
    fn second(&mut self, now_s: u64) -> Option<&mut Second> {
        let place = usize::try_from(now_s % KEPT).unwrap_or_default();
        let second = self.0.get_mut(place)?;
        if second.at != now_s {
            *second = Second::new(now_s);
        }
        Some(second)
    }

    pub(super) fn call(&mut self, call: &CallRecord, now_s: u64) {
        let Some(second) = self.second(now_s) else { return };
        second.calls = second.calls.saturating_add(1);
        second.failed = second.failed.saturating_add(u32::from(call.outcome == Outcome::Failed));
        second.duration.count(call.duration_us);
        if let Some(us) = call.ttft_us {
            second.first_token.count(us);
        }
    }

    pub(super) fn attempt(&mut self, receipt: &Receipt, now_s: u64) {
        let charged = receipt.charged.map_or(0, Usd::units);
        if let Some(second) = self.second(now_s) {
            second.charged = second.charged.saturating_add(i128::from(charged));
        }
    }

    /// The last minute before the running second.
    pub(super) fn lately(&self, now_s: u64) -> Lately {
        let mut lately = Lately { calls: vec![0; WINDOW_S as usize], ..Lately::default() };
        lately.failed.clone_from(&lately.calls);
        let (mut duration, mut first_token) = (Durations::new(), Durations::new());
        for second in &self.0 {
            let age = now_s.checked_sub(second.at).filter(|age| (1..=WINDOW_S).contains(age));
            let Some(place) = age.and_then(|age| usize::try_from(WINDOW_S - age).ok()) else { continue };
            for (all, count) in [(&mut lately.calls, second.calls), (&mut lately.failed, second.failed)] {
                if let Some(slot) = all.get_mut(place) {
                    *slot = count;
                }
            }
            lately.charged_units = lately.charged_units.saturating_add(second.charged);
            duration.add(&second.duration);
            first_token.add(&second.first_token);
        }
        lately.duration_us = [duration.quantile(50), duration.quantile(95)];
        lately.first_token_us = [first_token.quantile(50), first_token.quantile(95)];
        lately
    }
}

/// The last minute, oldest second first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// Calls that ended, by second.
    pub calls: Vec<u32>,
    /// Those of them that failed; whom a client left did not.
    pub failed: Vec<u32>,
    /// What was charged, in units of 1e-12 USD.
    pub charged_units: i128,
    /// Median and 95th percentile of whole calls, microseconds; `None` without calls.
    pub duration_us: [Option<u64>; 2],
    /// The same of the time to the first content.
    pub first_token_us: [Option<u64>; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::receipt;
    use crate::receipt::testing::call;

    #[test]
    fn a_second_is_shown_when_it_is_over_and_for_a_minute() {
        let mut recent = Recent::new();
        recent.call(&call(), 100);
        recent.call(&CallRecord { outcome: Outcome::Failed, ..call() }, 100);
        recent.attempt(&crate::receipt::Receipt { charged: Some(Usd::from_units(7)), ..receipt(1) }, 100);
        assert_eq!(recent.lately(100).calls.iter().sum::<u32>(), 0);
        for now_s in [101, 160] {
            let lately = recent.lately(now_s);
            let place = usize::try_from(160 - now_s).unwrap();
            assert_eq!((lately.calls[place], lately.failed[place]), (2, 1), "{now_s}");
            assert_eq!((lately.calls.len(), lately.charged_units), (60, 7));
        }
        assert_eq!(recent.lately(161), recent.lately(1_000_000));
        recent.call(&call(), 164);
        assert_eq!(recent.lately(165).calls.iter().sum::<u32>(), 1);
    }

    #[test]
    fn a_quantile_is_near_the_truth_and_nothing_is_too_long_or_short() {
        let mut durations = Durations::new();
        assert_eq!(durations.quantile(50), None);
        (1..=1000).for_each(|ms| durations.count(ms * 1000));
        for (percent, truth) in [(50, 500_000_i64), (95, 950_000)] {
            let off = i64::try_from(durations.quantile(percent).unwrap()).unwrap() - truth;
            assert!(off.abs() < truth / 16, "{percent} is off by {off}");
        }
        for us in [0, u64::MAX] {
            let mut one = Durations::new();
            one.count(us);
            assert!(one.quantile(95).is_some());
        }
    }
}
