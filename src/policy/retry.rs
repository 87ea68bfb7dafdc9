//! The retry budget: an outage is not answered with more calls than a fifth on top.
//!
//! Every call puts a fifth of a retry into the process's budget, every further attempt (failover, another credential,
//! a hedge) takes a whole one; beyond it each provider may be asked ten times a second as a second choice, so that a
//! quiet gateway can retry at all.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Thousandths of a retry that a call earns.
const EARNED: i64 = 200;
/// Thousandths that a retry costs.
const COST: i64 = 1_000;
/// Thousandths kept at most: what 1,000 calls earn.
const KEPT_MAX: i64 = 200_000;
/// Further attempts that a provider takes in a second, whatever the budget says.
pub const FLOOR_PER_S: u32 = 10;

/// What is left for further attempts, over all cells.
#[derive(Debug, Default)]
pub struct Budget(AtomicI64);

impl Budget {
    /// A call began.
    pub fn earn(&self) {
        // A race may lose a few thousandths, never add any.
        let earned = self.0.load(Ordering::Relaxed) + EARNED;
        self.0.store(earned.min(KEPT_MAX), Ordering::Relaxed);
    }

    /// Pays for a further attempt at a provider; false when it must not be made.
    pub fn spend(&self, floor: &Floor, now: Instant) -> bool {
        let pay = |left: i64| (left >= COST).then(|| left - COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok() || floor.take(now)
    }
}

/// The further attempts that one provider takes whatever the budget says.
#[derive(Debug, Default)]
pub struct Floor(Mutex<Option<(Instant, u32)>>);

impl Floor {
    /// Takes one of this second's.
    fn take(&self, now: Instant) -> bool {
        let mut second = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &mut *second {
            Some((since, taken)) if now.saturating_duration_since(*since) < Duration::from_secs(1) => {
                *taken += 1;
                *taken <= FLOOR_PER_S
            }
            other => {
                *other = Some((now, 1));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_makes_a_fifth_more_attempts_and_ten_a_second() {
        let (budget, floor, start) = (Budget::default(), Floor::default(), Instant::now());
        let mut retries = 0;
        for call in 0..10_000_u32 {
            budget.earn();
            let now = start + Duration::from_millis(u64::from(call));
            // Every attempt fails, every call would try twice more.
            retries += u32::from(budget.spend(&floor, now)) + u32::from(budget.spend(&floor, now));
        }
        assert!((2_090..=2_110).contains(&retries), "{retries}");
    }

    #[test]
    fn a_quiet_gateway_can_retry_and_a_long_peace_is_not_saved_up() {
        let (budget, floor, now) = (Budget::default(), Floor::default(), Instant::now());
        assert_eq!((0..30).filter(|_| budget.spend(&floor, now)).count(), 10);
        assert!(budget.spend(&floor, now + Duration::from_secs(1)));
        let (budget, floor) = (Budget::default(), Floor::default());
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!((0..1_000).filter(|_| budget.spend(&floor, now)).count(), 210);
    }
}
