//! Health: what the attempts at a target say of it, and whether it may be asked.
//!
//! One [`TargetHealth`] per provider and model, shared by all cells. Rules are parameters, so that a reload needs no
//! new state; so is the time.

mod breaker;
mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::breaker::Breaker;
use self::window::{Decayed, Window};
use super::tally::Ejection;
use crate::config::BreakerRule;
use crate::error::Error;

/// What the end of an attempt says of the target and of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered.
    Good,
    /// It failed: no connection, an error of its own, a broken or unreadable answer, a time-out.
    Failed,
    /// It says that it is overloaded, and perhaps for how long.
    Overloaded(Option<Duration>),
    /// It limits this credential, and perhaps for how long.
    Limited(Option<Duration>),
    /// It refused this credential, or its account is out of credit.
    Refused,
    /// It refused this credential for this model.
    Forbidden,
    /// Nothing: the request was wrong, or the client left.
    Neutral,
}

impl Sign {
    /// What an error of an attempt says.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::UpstreamRateLimited { retry_after, .. } => Self::Limited(*retry_after),
            Error::UpstreamAuth(_) => Self::Refused,
            Error::Upstream { code: "upstream_overloaded", .. } => Self::Overloaded(None),
            Error::Upstream { .. } | Error::Timeout(_) => Self::Failed,
            _ => Self::Neutral,
        }
    }
}

/// One attempt that ended.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// What it says.
    pub sign: Sign,
    /// From sending to the first content of a stream; a whole answer has none.
    pub ttft: Option<Duration>,
    /// From sending to the end.
    pub duration: Duration,
    /// Tokens written, where known.
    pub output_tokens: Option<u64>,
    /// It was the probe of a half-open breaker, of this number.
    pub probe: Option<u32>,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Asked as usual.
    #[default]
    Closed,
    /// Not asked.
    Open,
    /// One probe at a time.
    HalfOpen,
}

impl State {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What is known of a target at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Share of attempts that went well, decayed; `None` without any.
    pub success_rate: Option<f32>,
    /// Mean milliseconds to the first content, decayed.
    pub ttft_ms: Option<f32>,
    /// Mean tokens per second after it, decayed.
    pub tokens_per_s: Option<f32>,
    /// Attempts behind these numbers, decayed.
    pub attempts: f32,
    /// The breaker.
    pub state: State,
    /// Not asked until then (breaker open, or told to wait), if that is to come.
    pub ejected_until: Option<Instant>,
    /// A probe is out: nobody else is let in until it has ended.
    pub probing: bool,
    /// The ejection is by rate alone (failures or slowness), so that at most half of a model's targets may have it.
    pub soft: bool,
    /// Why it was ejected the last time.
    pub why: Ejection,
}

/// The right to ask a target once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// It is the probe of a half-open breaker, of this number: its end decides.
    pub probe: Option<u32>,
}

/// How long the sums of a window are good for.
const READING_LIFE: Duration = Duration::from_secs(1);

/// The health of one target, over all cells.
#[derive(Debug, Default)]
pub struct TargetHealth {
    inner: Mutex<Inner>,
    /// Probes of its provider fail.
    down: Arc<AtomicBool>,
}

/// How long a target is passed over whose provider's probes fail; said anew at each reading.
const DOWN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Inner {
    window: Window,
    breaker: Breaker,
    /// What the window said, and when.
    sums: Option<(Instant, Decayed)>,
}

impl TargetHealth {
    /// One whose provider is probed: `down` tells how that went.
    pub fn probed(down: &Arc<AtomicBool>) -> Self {
        Self { inner: Mutex::default(), down: Arc::clone(down) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now, with numbers that are up to a second old: for routing.
    pub fn reading(&self, now: Instant) -> Reading {
        self.read(now, READING_LIFE)
    }

    /// What is known at this moment: for operators.
    pub fn exact(&self, now: Instant) -> Reading {
        self.read(now, Duration::ZERO)
    }

    fn read(&self, now: Instant, life: Duration) -> Reading {
        let mut inner = self.inner();
        let sums = match inner.sums {
            Some((at, sums)) if now.saturating_duration_since(at) < life => sums,
            _ => {
                let sums = inner.window.decayed(now);
                inner.sums = Some((now, sums));
                sums
            }
        };
        let Decayed { attempts, success_rate, ttft_ms, tokens_per_s } = sums;
        let breaker = &inner.breaker;
        let mut reading = Reading {
            success_rate,
            ttft_ms,
            tokens_per_s,
            attempts,
            state: breaker.state(now),
            ejected_until: breaker.ejected_until(now),
            probing: breaker.is_probing(now),
            soft: breaker.is_soft(now),
            why: breaker.why(now),
        };
        let barred = reading.probing || reading.ejected_until.is_some_and(|until| now < until);
        if !barred && self.down.load(Ordering::Relaxed) {
            // As by a rate: when all are down, somebody must still be asked.
            (reading.ejected_until, reading.soft, reading.why) =
                (Some(now + DOWN), true, Ejection::HealthProbe);
        }
        reading
    }

    /// Asks the breaker. With `ignore_soft` an ejection by a rate does not count.
    ///
    /// # Errors
    /// How long not to ask.
    pub fn admit(&self, now: Instant, ignore_soft: bool) -> Result<Pass, Duration> {
        self.inner().breaker.admit(now, ignore_soft)
    }

    /// How long the breaker lets nobody in yet; with `ignore_soft` an ejection by a rate does not count.
    pub fn barred_for(&self, now: Instant, ignore_soft: bool) -> Option<Duration> {
        let inner = self.inner();
        let left = inner.breaker.ejected_until(now).map(|until| until.saturating_duration_since(now));
        left.filter(|left| !left.is_zero()).filter(|_| !(inner.breaker.is_soft(now) && ignore_soft))
    }

    /// Gives back the right to ask, which was not used.
    pub fn unused(&self, pass: Pass) {
        if pass.probe.is_some() {
            self.inner().breaker.unused(pass);
        }
    }

    /// Takes what an attempt says. True when the breaker changed its state.
    pub fn record(&self, seen: &Observation, rule: &BreakerRule, now: Instant) -> bool {
        let mut inner = self.inner();
        // A whole answer takes as long as it is; one that failed without a word took too long to say so.
        let waited = seen.ttft.or_else(|| (seen.sign != Sign::Good).then_some(seen.duration));
        let slow = !rule.slow_call.is_zero() && waited.is_some_and(|waited| waited > rule.slow_call);
        inner.window.count(seen, slow, now);
        let lately = inner.window.lately(now);
        let changed = inner.breaker.record(seen, lately, rule, now);
        if changed && inner.breaker.state(now) == State::Closed {
            // The failures that opened it are no reason to open it again.
            inner.window.clear();
            inner.sums = None;
        }
        changed
    }

    /// The time within which 95 of 100 answers began, lately; `None` while too few did.
    pub fn p95_ttft(&self, now: Instant) -> Option<Duration> {
        self.inner().window.p95_ttft(now)
    }
}

#[cfg(test)]
mod tests;
