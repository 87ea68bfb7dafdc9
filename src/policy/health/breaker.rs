//! The breaker of one target: closed, open, half-open. Pure: told what happened and when.

use std::time::{Duration, Instant};

use super::window::Lately;
use super::{Observation, Pass, Sign, State};
use crate::config::BreakerRule;

/// The longest that a provider's own word keeps a target from being asked.
const TOLD_MAX: Duration = Duration::from_secs(3_600);
/// A probe that has not ended by then may be followed by another one, so that nothing is stuck.
const PROBE_MAX: Duration = Duration::from_secs(60);

/// One breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    consecutive: u32,
    /// Not asked until then, and what follows is a probe.
    open_until: Option<Instant>,
    /// How often it opened in a row.
    opened: u32,
    /// It opened for a rate.
    soft: bool,
    /// The provider itself said so.
    told_until: Option<Instant>,
    /// Since when a probe is out.
    probing: Option<Instant>,
}

impl Breaker {
    /// Where it stands.
    pub fn state(&self, now: Instant) -> State {
        match self.open_until {
            _ if self.told_until.is_some_and(|until| now < until) => State::Open,
            None => State::Closed,
            Some(until) if now < until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    /// Not asked until then, if that is to come.
    pub fn ejected_until(&self, now: Instant) -> Option<Instant> {
        self.open_until.max(self.told_until).filter(|until| now < *until)
    }

    /// It is open for a rate alone.
    pub fn is_soft(&self, now: Instant) -> bool {
        self.soft && self.told_until.is_none_or(|until| now >= until)
    }

    /// Asks for the right to an attempt.
    ///
    /// # Errors
    /// How long not to ask.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        if let Some(until) = self.ejected_until(now) {
            return Err(until.saturating_duration_since(now));
        }
        if self.open_until.is_none() {
            return Ok(Pass::default());
        }
        match self.probing {
            Some(since) if now.saturating_duration_since(since) < PROBE_MAX => {
                Err(PROBE_MAX - now.saturating_duration_since(since))
            }
            _ => {
                self.probing = Some(now);
                Ok(Pass { probe: true })
            }
        }
    }

    /// A right that was not used.
    pub fn unused(&mut self, pass: Pass) {
        if pass.probe {
            self.probing = None;
        }
    }

    /// Takes the end of an attempt; `lately` counts it already. True when it opened or closed.
    pub fn record(&mut self, seen: &Observation, lately: Lately, rule: &BreakerRule, now: Instant) -> bool {
        let before = self.state(now);
        if seen.probe {
            self.probing = None;
        }
        match seen.sign {
            Sign::Good => self.good(seen.probe, lately, rule, now),
            Sign::Failed => self.failed(seen.probe, lately, rule, now),
            Sign::Overloaded(told) => {
                self.failed(seen.probe, lately, rule, now);
                if let Some(told) = told {
                    self.told_until = self.told_until.max(Some(now + told.min(TOLD_MAX)));
                }
            }
            Sign::Limited(_) | Sign::Refused | Sign::Forbidden | Sign::Neutral => {}
        }
        before != self.state(now)
    }

    fn good(&mut self, probe: bool, lately: Lately, rule: &BreakerRule, now: Instant) {
        self.consecutive = 0;
        if self.open_until.is_none() {
            if over(lately.slow, lately, rule.slow_rate, rule) && !rule.slow_call.is_zero() {
                self.open(true, rule, now);
            } else if lately.attempts >= rule.minimum_calls {
                // A healthy while: the next outage begins with a short cool-down again.
                self.opened = 0;
            }
        } else if probe {
            (self.open_until, self.told_until, self.soft) = (None, None, false);
        }
    }

    fn failed(&mut self, probe: bool, lately: Lately, rule: &BreakerRule, now: Instant) {
        if self.open_until.is_some() {
            // Attempts that began before it opened say nothing new.
            if probe {
                self.open(self.soft, rule, now);
            }
            return;
        }
        self.consecutive = self.consecutive.saturating_add(1);
        if self.consecutive >= rule.consecutive_failures {
            self.open(false, rule, now);
        } else if rule.failure_rate > 0 && over(lately.failed, lately, rule.failure_rate, rule) {
            self.open(true, rule, now);
        }
    }

    fn open(&mut self, soft: bool, rule: &BreakerRule, now: Instant) {
        let doubled = rule.cool_down.saturating_mul(1 << self.opened.min(16));
        self.opened = self.opened.saturating_add(1);
        self.soft = soft;
        self.consecutive = 0;
        self.open_until = Some(now + doubled.min(rule.cool_down_max.max(rule.cool_down)));
    }
}

/// More than this percentage of enough attempts.
fn over(part: u32, lately: Lately, percent: u32, rule: &BreakerRule) -> bool {
    lately.attempts >= rule.minimum_calls.max(1)
        && u64::from(part) * 100 >= u64::from(percent) * u64::from(lately.attempts)
}
