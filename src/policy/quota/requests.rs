//! Requests per minute: governor's leaky bucket, told the time instead of asking for it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::Gauge;

/// Nanoseconds in the minute that every limit is counted over.
const MINUTE_NS: u64 = 60_000_000_000;

/// The latest time anybody told, in nanoseconds; never goes back.
#[derive(Clone, Debug, Default)]
struct Told(Arc<AtomicU64>);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Relaxed))
    }
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Told, StateInformationMiddleware>;

/// A bucket that holds `limit` requests and refills at `limit` per minute.
#[derive(Debug)]
pub(super) struct Requests {
    limit: NonZeroU32,
    bucket: Bucket,
    told: Told,
    /// When the bucket will be full again: governor tells its level only when a request is taken.
    full_at_ns: AtomicU64,
}

impl Requests {
    pub(super) fn new(limit: NonZeroU32) -> Self {
        let told = Told::default();
        let bucket = RateLimiter::direct_with_clock(Quota::per_minute(limit), told.clone()).with_middleware();
        Self { limit, bucket, told, full_at_ns: AtomicU64::new(0) }
    }

    /// Takes one request, or says how long to wait for one.
    pub(super) fn take(&self, now: Duration) -> Result<(), Duration> {
        let now_ns = as_ns(now);
        self.told.0.fetch_max(now_ns, Ordering::Relaxed);
        match self.bucket.check() {
            Ok(state) => {
                let used = u64::from(self.limit.get().saturating_sub(state.remaining_burst_capacity()));
                self.full_at_ns.fetch_max(now_ns + used * self.refill_ns(), Ordering::Relaxed);
                Ok(())
            }
            Err(until) => {
                let wait = until.earliest_possible().duration_since(Nanos::from(now_ns));
                Err(wait.into())
            }
        }
    }

    pub(super) fn gauge(&self, now: Duration) -> Gauge {
        let missing_ns = self.full_at_ns.load(Ordering::Relaxed).saturating_sub(as_ns(now));
        let used = missing_ns.div_ceil(self.refill_ns());
        let remaining = u64::from(self.limit.get()).saturating_sub(used);
        Gauge {
            limit: self.limit.get(),
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: Duration::from_nanos(missing_ns),
        }
    }

    /// Nanoseconds in which one request flows back.
    fn refill_ns(&self) -> u64 {
        (MINUTE_NS / u64::from(self.limit.get())).max(1)
    }
}

/// Nanoseconds of a duration; 584 years fit.
fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
