//! Tokens per minute: one atomic word holding the number of the minute and the tokens used in it.
//!
//! What a minute used beyond its limit (an estimate was too low) is carried into the next ones as a debt, so
//! that the limit holds on average whatever the estimates are.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Gauge;

/// Bits of the word that count tokens: 1.1e12 of them. The rest numbers the minutes, for 31 years.
const TOKEN_BITS: u32 = 40;
const TOKEN_MASK: u64 = (1 << TOKEN_BITS) - 1;
const MINUTE_SECS: u64 = 60;

/// Tokens used in the current minute of one key.
#[derive(Debug, Default)]
pub(super) struct Tokens(AtomicU64);

/// Tokens set aside in one minute.
#[derive(Debug)]
pub(super) struct Reservation {
    minute: u64,
    tokens: u64,
}

/// The word, taken apart.
#[derive(Clone, Copy)]
struct Window {
    minute: u64,
    used: u64,
}

impl Window {
    fn of(word: u64) -> Self {
        Self { minute: word >> TOKEN_BITS, used: word & TOKEN_MASK }
    }

    fn word(self) -> u64 {
        (self.minute << TOKEN_BITS) | self.used.min(TOKEN_MASK)
    }

    /// The window at `now`: a minute that has passed pays off `limit` tokens.
    fn at(self, now: Duration, limit: u64) -> Self {
        let minute = now.as_secs() / MINUTE_SECS;
        if minute <= self.minute {
            return self;
        }
        let paid = limit.saturating_mul(minute - self.minute);
        Self { minute, used: self.used.saturating_sub(paid) }
    }

    /// Until the minute is over.
    fn rest(self, now: Duration) -> Duration {
        Duration::from_secs((self.minute + 1) * MINUTE_SECS).saturating_sub(now)
    }
}

impl Tokens {
    /// Sets tokens aside, or says how long to wait for them; `None` when no wait is long enough.
    pub(super) fn reserve(
        &self,
        tokens: u64,
        limit: NonZeroU32,
        now: Duration,
    ) -> Result<Reservation, Option<Duration>> {
        let limit = u64::from(limit.get());
        if tokens > limit {
            return Err(None);
        }
        let take = |word: u64| {
            let window = Window::of(word).at(now, limit);
            let used = window.used + tokens;
            (used <= limit).then(|| Window { used, ..window }.word())
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(before) => Ok(Reservation { minute: Window::of(before).at(now, limit).minute, tokens }),
            Err(word) => Err(Some(wait_for(Window::of(word).at(now, limit), tokens, limit, now))),
        }
    }

    /// Replaces a reservation by what was really used. Once its minute is over there is nothing to give back,
    /// and what was used beyond it counts in the minute that is running.
    pub(super) fn settle(&self, held: Reservation, actual: u64) {
        let replace = |word: u64| {
            let window = Window::of(word);
            let used = if window.minute == held.minute {
                window.used.saturating_sub(held.tokens).saturating_add(actual)
            } else {
                window.used.saturating_add(actual.saturating_sub(held.tokens))
            };
            Some(Window { used, ..window }.word())
        };
        // The closure always answers, so there is no refusal to handle.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, replace);
    }

    pub(super) fn gauge(&self, limit: NonZeroU32, now: Duration) -> Gauge {
        let window = Window::of(self.0.load(Ordering::Relaxed)).at(now, u64::from(limit.get()));
        let remaining = u64::from(limit.get()).saturating_sub(window.used);
        let reset = if window.used == 0 { Duration::ZERO } else { window.rest(now) };
        Gauge { limit: limit.get(), remaining: u32::try_from(remaining).unwrap_or(u32::MAX), reset }
    }
}

/// The start of the first minute in which the debt is low enough for `tokens` more.
fn wait_for(window: Window, tokens: u64, limit: u64, now: Duration) -> Duration {
    let excess = (window.used + tokens).saturating_sub(limit);
    let further_minutes = excess.div_ceil(limit).saturating_sub(1);
    window.rest(now) + Duration::from_secs(further_minutes * MINUTE_SECS)
}
