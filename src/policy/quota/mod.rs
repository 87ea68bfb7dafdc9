//! The quota of one key: requests per minute, tokens per minute, calls at a time.
//!
//! A call is admitted under all of its key's limits or under none. Tokens are reserved by estimate before the
//! call and settled with the real count after it; the [`QuotaPermit`] gives back whatever was not settled when
//! it drops, on every exit.
//!
//! Invariants: an idle key has no call in flight and no reservation; nothing here blocks, allocates per call
//! beyond a reference count, or is held across an await. Counts are those of this process alone, but for a fleet's:
//! there requests and tokens are had from Redis ([`credits`]), and the local buckets stand in while it is gone.

pub mod credits;
mod requests;
#[cfg(test)]
mod tests;
mod tokens;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use credits::{Credits, Draw};
use requests::Requests;
use tokens::Tokens;

/// What a key may do; `None` means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests per minute: a bucket that holds this many and refills at this rate.
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute, prompt and completion together.
    pub tpm: Option<NonZeroU32>,
    /// Calls in flight at a time.
    pub concurrency: Option<NonZeroU32>,
}

/// A call that may not start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Which limit, e.g. `requests per minute`.
    pub limit: &'static str,
    /// When the same call may be admitted; `None` when it never can be, because it alone exceeds the limit.
    pub retry_after: Option<Duration>,
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied.retry_after {
            Some(retry_after) => Self::RateLimited { limit: denied.limit.to_owned(), retry_after },
            None => Self::invalid_code(
                format!(
                    "This request alone may use more than the key's limit of {}. Lower max_tokens or shorten \
                     the messages, or ask your operator for a higher limit.",
                    denied.limit
                ),
                None,
                "request_exceeds_limit",
            ),
        }
    }
}

/// One limit as the `x-ratelimit-*` headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// The limit itself, per minute.
    pub limit: u32,
    /// What is left of it now.
    pub remaining: u32,
    /// Until all of it is there again, if nothing more is used.
    pub reset: Duration,
}

/// The per-minute limits of a key at one moment; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests per minute.
    pub requests: Option<Gauge>,
    /// Tokens per minute.
    pub tokens: Option<Gauge>,
}

/// How long a caller that has too many calls in flight is asked to wait: nobody knows when one will end.
const CONCURRENCY_RETRY: Duration = Duration::from_secs(1);

/// The longest that anybody is asked to wait for a request of a bucket that refills all the time.
const REQUEST_RETRY_MAX: Duration = Duration::from_secs(1);

/// The limits of one key and what is used of them.
#[derive(Debug)]
pub struct KeyQuota {
    limits: Limits,
    origin: Instant,
    requests: Option<Arc<Requests>>,
    tokens: Arc<Tokens>,
    in_flight: Arc<AtomicU32>,
    credits: Arc<Credits>,
}

impl KeyQuota {
    /// A quota nothing of which is used. `origin` is a moment not later than any `now` to come.
    pub fn new(limits: Limits, origin: Instant) -> Self {
        Self {
            limits,
            origin,
            requests: limits.rpm.map(|rpm| Arc::new(Requests::new(rpm))),
            tokens: Arc::default(),
            in_flight: Arc::default(),
            credits: Arc::default(),
        }
    }

    /// The same key under other limits: calls in flight and tokens used go on counting. The bucket of requests
    /// starts full again, if its limit changed.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        let requests = if limits.rpm == self.limits.rpm {
            self.requests.clone()
        } else {
            limits.rpm.map(|rpm| Arc::new(Requests::new(rpm)))
        };
        Self {
            limits,
            origin: self.origin,
            requests,
            tokens: Arc::clone(&self.tokens),
            in_flight: Arc::clone(&self.in_flight),
            credits: Arc::default(),
        }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Calls admitted and not yet ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Admits one call that may use `estimated_tokens`, or says which limit it breaks and when to come back.
    ///
    /// # Errors
    /// [`Denied`], and then nothing at all was taken.
    pub fn admit(&self, estimated_tokens: u64, now: Instant) -> Result<QuotaPermit, Denied> {
        let now = now.saturating_duration_since(self.origin);
        self.enter()?;
        // From here on the permit's drop undoes what was taken.
        let mut permit = QuotaPermit { in_flight: Arc::clone(&self.in_flight), held: None };
        if let Some(limit) = self.limits.tpm {
            let reserved = self.tokens.reserve(estimated_tokens, limit, now);
            let reserved =
                reserved.map_err(|retry_after| Denied { limit: "tokens per minute", retry_after })?;
            permit.held = Some(Held::Here(Arc::clone(&self.tokens), reserved));
        }
        // Last, because a request cannot be given back to its bucket.
        if let Some(requests) = &self.requests {
            let taken = requests.take(now);
            taken.map_err(|wait| Denied { limit: "requests per minute", retry_after: Some(wait) })?;
        }
        Ok(permit)
    }

    /// Whether a request would find the limit of requests, as far as can be told; takes nothing.
    ///
    /// # Errors
    /// [`Denied`], when none is left.
    pub fn would_admit(&self, now: Instant) -> Result<(), Denied> {
        let now = now.saturating_duration_since(self.origin);
        match self.requests.as_ref().map(|requests| requests.gauge(now)) {
            Some(Gauge { remaining: 0, reset, .. }) => {
                Err(Denied { limit: "requests per minute", retry_after: Some(reset.min(REQUEST_RETRY_MAX)) })
            }
            _ => Ok(()),
        }
    }

    /// What the fleet's part of the quota holds.
    pub fn credits(&self) -> &Arc<Credits> {
        &self.credits
    }

    /// True when requests or tokens are limited: what a fleet shares.
    pub fn is_shared(&self) -> bool {
        self.limits.rpm.is_some() || self.limits.tpm.is_some()
    }

    /// Time since the quota began, for [`Credits`].
    pub fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }

    /// Admits one call out of the credits in hand. `Ok(None)`: they do not suffice, and the fleet is to be asked; a
    /// place in flight is had, then, by [`KeyQuota::admit_credited`].
    ///
    /// # Errors
    /// [`Denied`], by the calls in flight or by the fleet just before.
    pub fn admit_in_hand(&self, tokens: u64, now: Instant) -> Result<Option<QuotaPermit>, Denied> {
        self.enter()?;
        let mut permit = QuotaPermit { in_flight: Arc::clone(&self.in_flight), held: None };
        match self.credits.draw(self.limits, tokens, self.since(now)) {
            Draw::Had(minute) => {
                permit.hold(&self.credits, minute, tokens, self.limits);
                Ok(Some(permit))
            }
            Draw::Short => Ok(None),
            Draw::Refused(denied) => Err(denied),
        }
    }

    /// A place in flight for a call whose request and tokens the fleet is asked for.
    ///
    /// # Errors
    /// [`Denied`], by the calls in flight.
    pub fn admit_credited(&self) -> Result<QuotaPermit, Denied> {
        self.enter()?;
        Ok(QuotaPermit { in_flight: Arc::clone(&self.in_flight), held: None })
    }

    /// What is left of the per-minute limits in the whole fleet, as far as is known here.
    pub fn fleet_snapshot(&self) -> Option<Snapshot> {
        self.credits.snapshot(self.limits)
    }

    /// What is left of the per-minute limits.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let now = now.saturating_duration_since(self.origin);
        Snapshot {
            requests: self.requests.as_ref().map(|requests| requests.gauge(now)),
            tokens: self.limits.tpm.map(|limit| self.tokens.gauge(limit, now)),
        }
    }

    /// Counts one more call in flight, if that is within the limit.
    fn enter(&self) -> Result<(), Denied> {
        let limit = self.limits.concurrency.map_or(u32::MAX, NonZeroU32::get);
        let more = |count: u32| (count < limit).then(|| count + 1);
        let entered = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered
            .map(drop)
            .map_err(|_| Denied { limit: "concurrent requests", retry_after: Some(CONCURRENCY_RETRY) })
    }
}

/// Tokens set aside for a call, and where.
#[derive(Debug)]
enum Held {
    /// In the minute of this process.
    Here(Arc<Tokens>, tokens::Reservation),
    /// Out of the fleet's credits: the minute, and how many.
    Credits(Arc<Credits>, i64, u64),
    /// In what stands in for the fleet's quota.
    StandIn(Box<QuotaPermit>),
}

/// The right to run one call. Held until the call has ended; dropping it frees everything it still holds.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct QuotaPermit {
    in_flight: Arc<AtomicU32>,
    held: Option<Held>,
}

impl QuotaPermit {
    /// The fleet's credits have paid for it: these tokens, in this minute.
    pub fn hold(&mut self, credits: &Arc<Credits>, minute: i64, tokens: u64, limits: Limits) {
        self.held = limits.tpm.map(|_| Held::Credits(Arc::clone(credits), minute, tokens));
    }

    /// Another quota has admitted it in place of the fleet's: both end together.
    pub fn stand_in(&mut self, permit: Self) {
        self.held = Some(Held::StandIn(Box::new(permit)));
    }

    /// The call has ended and has used this many tokens, prompt and completion together.
    pub fn settle(mut self, actual_tokens: u64) {
        self.release(actual_tokens);
    }

    fn release(&mut self, actual: u64) {
        match self.held.take() {
            Some(Held::Here(tokens, held)) => tokens.settle(held, actual),
            Some(Held::Credits(credits, minute, held)) => credits.settle(minute, held, actual),
            Some(Held::StandIn(mut permit)) => permit.release(actual),
            None => {}
        }
    }
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        self.release(0);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
