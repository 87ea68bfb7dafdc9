//! What one replica holds of a quota that a fleet shares: requests and tokens that were had from Redis and not used yet.
//!
//! A key with a high limit is topped up ahead of its calls, by its rate and by at most a fiftieth of the limit over all
//! replicas; one with a low limit holds nothing and asks for each call, which is exact. What is held and not used goes
//! back. Without I/O or clock: what to ask is said here, the asking is done elsewhere.
//!
//! Invariants: what is asked to be taken back is not there any more; an answer that never comes costs what it would have
//! brought, never more than the limit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Denied, Gauge, Limits, Snapshot};

/// Tokens and requests held ahead, over all replicas: this part of the limit.
const AHEAD_PART: i64 = 50;
/// They last so many ticks.
const AHEAD_TICKS: i64 = 3;
/// Fractions of a request that rates are counted in.
const RATE_PARTS: i64 = 16;
/// A refusal is not asked for again before this, since others may give back.
const REFUSED_MAX: Duration = Duration::from_millis(250);

/// What is asked of Redis for one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Requests that must be had: one for a call that waits, none otherwise.
    pub requests: i64,
    /// Tokens that must be had.
    pub tokens: i64,
    /// Requests wanted beyond; negative gives back.
    pub more_requests: i64,
    /// Tokens wanted beyond; negative gives back.
    pub more_tokens: i64,
    /// Tokens that were used beyond what was had.
    pub debt: i64,
    /// The minute that tokens given back were had in.
    pub minute: i64,
}

/// What Redis said to a [`Wish`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// What must be had was had.
    pub admitted: bool,
    /// Requests had in all; negative: given back.
    pub requests: i64,
    /// Tokens had in all; negative: given back.
    pub tokens: i64,
    /// What is left of the quota.
    pub requests_left: i64,
    /// What is left of the minute.
    pub tokens_left: i64,
    /// When a request can be had, if none could; negative: never.
    pub requests_wait_ms: i64,
    /// When the tokens can be had, if they could not; negative: never.
    pub tokens_wait_ms: i64,
    /// The minute.
    pub minute: i64,
    /// Until all requests are there again.
    pub requests_reset_ms: i64,
    /// Until the minute is over.
    pub tokens_reset_ms: i64,
}

/// What a call got of the credits in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// All it needs; its tokens are of this minute.
    Had(i64),
    /// Redis must be asked.
    Short,
    /// Redis refused the same just now.
    Refused(Denied),
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    requests: i64,
    tokens: i64,
    minute: i64,
    /// Drawn since the last tick.
    drawn: (i64, i64),
    /// Drawn per tick lately, in parts.
    rate: (i64, i64),
    last: Option<Granted>,
    /// A refusal that still holds: until when, for how many tokens, and what it said.
    refused: Option<(Duration, u64, Denied)>,
}

/// What one replica holds of one key's quota.
#[derive(Debug, Default)]
pub struct Credits(Mutex<State>);

impl Credits {
    /// Takes what one call needs out of what is in hand: both or nothing.
    pub fn draw(&self, limits: Limits, tokens: u64, now: Duration) -> Draw {
        let mut state = self.lock();
        let request = i64::from(limits.rpm.is_some());
        let needed = if limits.tpm.is_some() { signed(tokens) } else { 0 };
        if state.requests >= request && state.tokens >= needed {
            state.requests -= request;
            state.tokens -= needed;
            state.drawn = (state.drawn.0 + request, state.drawn.1 + needed);
            return Draw::Had(state.minute);
        }
        match state.refused {
            Some((until, least, denied)) if now < until && tokens >= least => {
                let wait = denied.retry_after.map(|wait| wait.saturating_sub(until.saturating_sub(now)));
                let wait = wait.map(|wait| wait.max(Duration::from_millis(1)));
                Draw::Refused(Denied { retry_after: wait, ..denied })
            }
            _ => Draw::Short,
        }
    }

    /// What to ask for a call that what is in hand does not cover, and for those after it.
    pub fn ask(&self, limits: Limits, tokens: u64, replicas: u32) -> Wish {
        let mut state = self.lock();
        let requests = i64::from(limits.rpm.is_some());
        let tokens = if limits.tpm.is_some() { signed(tokens) } else { 0 };
        state.drawn = (state.drawn.0 + requests, state.drawn.1 + tokens);
        let (ahead_requests, ahead_tokens) = state.ahead(limits, replicas);
        let more_requests = (ahead_requests - state.requests.max(0)).max(0);
        let more_tokens = (ahead_tokens - state.tokens.max(0)).max(0);
        // What is owed goes with the next tick: a call that is cancelled must not take it along.
        Wish { requests, tokens, more_requests, more_tokens, debt: 0, minute: state.minute }
    }

    /// What to ask for ahead, or to give back, at a tick; `None`: nothing. Called once per tick.
    pub fn plan(&self, limits: Limits, replicas: u32) -> Option<Wish> {
        let mut state = self.lock();
        let drawn = std::mem::take(&mut state.drawn);
        state.rate = (smooth(state.rate.0, drawn.0), smooth(state.rate.1, drawn.1));
        let (ahead_requests, ahead_tokens) = state.ahead(limits, replicas);
        // Half of what is held ahead may be missing: it is not worth a word.
        let more_requests = worth(state.requests, ahead_requests);
        let more_tokens = worth(state.tokens, ahead_tokens);
        state.requests += more_requests.min(0);
        state.tokens += more_tokens.min(0);
        let wish = Wish {
            requests: 0,
            tokens: 0,
            more_requests,
            more_tokens,
            debt: state.owe(),
            minute: state.minute,
        };
        let nothing = more_requests == 0 && more_tokens == 0 && wish.debt == 0;
        (!nothing).then_some(wish)
    }

    /// Everything that is held, to give back at the end; `None`: nothing.
    pub fn give_back(&self) -> Option<Wish> {
        let mut state = self.lock();
        let (more_requests, more_tokens) = (-state.requests.max(0), -state.tokens.max(0));
        state.requests += more_requests;
        state.tokens += more_tokens;
        let wish =
            Wish { more_requests, more_tokens, debt: state.owe(), minute: state.minute, ..Wish::default() };
        (wish != Wish { minute: state.minute, ..Wish::default() }).then_some(wish)
    }

    /// What became of a wish; for a call that waited, the minute of its tokens, or the refusal.
    ///
    /// # Errors
    /// The limit that refuses the call.
    pub fn granted(&self, wish: &Wish, granted: Granted, tokens: u64, now: Duration) -> Result<i64, Denied> {
        let mut state = self.lock();
        if granted.minute > state.minute {
            // What was held is of a minute that is over.
            state.tokens = state.tokens.min(0);
            state.minute = granted.minute;
        }
        state.last = Some(granted);
        let used = if granted.admitted { (wish.requests, wish.tokens) } else { (0, 0) };
        // What is given back was taken out when that was asked.
        let more = |wanted: i64, had: i64, used: i64| if wanted < 0 { 0 } else { had - used };
        state.requests += more(wish.more_requests, granted.requests, used.0);
        state.tokens += more(wish.more_tokens, granted.tokens, used.1);
        if granted.admitted {
            state.refused = None;
            return Ok(state.minute);
        }
        let by_tokens = granted.tokens_wait_ms != 0;
        let (limit, wait_ms) = if by_tokens {
            ("tokens per minute", granted.tokens_wait_ms)
        } else {
            ("requests per minute", granted.requests_wait_ms)
        };
        let retry_after = u64::try_from(wait_ms).ok().map(Duration::from_millis);
        let denied = Denied { limit, retry_after };
        let hold = retry_after.unwrap_or(REFUSED_MAX).min(REFUSED_MAX);
        state.refused = Some((now + hold, if by_tokens { tokens } else { 0 }, denied));
        Err(denied)
    }

    /// A wish without an answer: what was owed is owed still.
    pub fn lost(&self, wish: &Wish) {
        self.lock().tokens -= wish.debt;
    }

    /// A call that drew `held` tokens in `minute` has used `actual`.
    pub fn settle(&self, minute: i64, held: u64, actual: u64) {
        let mut state = self.lock();
        if state.minute == minute {
            state.tokens += signed(held) - signed(actual);
        } else {
            state.tokens -= signed(actual.saturating_sub(held));
        }
    }

    /// True when nothing is held or owed and nobody calls.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.requests == 0 && state.tokens == 0 && state.drawn == (0, 0) && state.rate == (0, 0)
    }

    /// What is left, as far as is known here.
    pub fn snapshot(&self, limits: Limits) -> Option<Snapshot> {
        let state = self.lock();
        let last = state.last?;
        let gauge = |limit: u32, left: i64, held: i64, reset_ms: i64| {
            let remaining = u32::try_from((left + held).max(0)).unwrap_or(u32::MAX).min(limit);
            let reset = Duration::from_millis(u64::try_from(reset_ms).unwrap_or(0));
            Gauge { limit, remaining, reset: if remaining == limit { Duration::ZERO } else { reset } }
        };
        Some(Snapshot {
            requests: limits
                .rpm
                .map(|limit| gauge(limit.get(), last.requests_left, state.requests, last.requests_reset_ms)),
            tokens: limits
                .tpm
                .map(|limit| gauge(limit.get(), last.tokens_left, state.tokens, last.tokens_reset_ms)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is held for calls to come, at the rate of late and within the part of the limit that may be.
    fn ahead(&self, limits: Limits, replicas: u32) -> (i64, i64) {
        let most = |limit: Option<std::num::NonZeroU32>| {
            limit.map_or(0, |limit| i64::from(limit.get()) / (AHEAD_PART * i64::from(replicas.max(1))))
        };
        let soon = |rate: i64| (rate * AHEAD_TICKS + RATE_PARTS - 1) / RATE_PARTS;
        // A burst that has just begun is no rate yet.
        let requests = self.rate.0.max(self.drawn.0.saturating_mul(RATE_PARTS));
        let tokens = self.rate.1.max(self.drawn.1.saturating_mul(RATE_PARTS));
        (soon(requests).min(most(limits.rpm)), soon(tokens).min(most(limits.tpm)))
    }

    /// Takes the debt over into a wish.
    fn owe(&mut self) -> i64 {
        let debt = (-self.tokens).max(0);
        self.tokens += debt;
        debt
    }
}

/// What is missing of, or too much for, what should be held.
fn worth(held: i64, ahead: i64) -> i64 {
    let missing = ahead - held.max(0);
    if missing > 0 && missing * 2 < ahead { 0 } else { missing }
}

/// The rate after one more tick, in parts; what is small dies out.
fn smooth(rate: i64, drawn: i64) -> i64 {
    (rate * 3 + drawn.saturating_mul(RATE_PARTS)) / 4
}

fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX / 4)
}
