//! The breaker of one target: closed, open, half-open. Pure: told what happened and when.

use std::time::{Duration, Instant};

use super::window::Lately;
use super::{Observation, Pass, Sign, State};
use crate::config::BreakerRule;
use crate::policy::tally::Ejection;

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
    /// Why it opened the last time.
    why: Ejection,
    /// When a refusal for overload was last counted among those in a row.
    overloaded: Option<Instant>,
    /// The provider itself said so.
    told_until: Option<Instant>,
    /// The probe that is out, and since when.
    probing: Option<(u32, Instant)>,
    /// Probes so far.
    probes: u32,
    /// Since when it is closed again.
    closed: Option<Instant>,
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

    /// A probe is out, and not given up.
    pub fn is_probing(&self, now: Instant) -> bool {
        self.probing.is_some_and(|(_, since)| now.saturating_duration_since(since) < PROBE_MAX)
    }

    /// It is open for a rate alone.
    pub fn is_soft(&self, now: Instant) -> bool {
        self.soft && self.told_until.is_none_or(|until| now >= until)
    }

    /// Why it was ejected the last time.
    pub fn why(&self, now: Instant) -> Ejection {
        let open = self.open_until.is_some_and(|until| now < until);
        let told = self.told_until.is_some_and(|until| now < until);
        if told && !open { Ejection::Told } else { self.why }
    }

    /// Asks for the right to an attempt. With `ignore_soft` an ejection by a rate bars nobody, but once its time is
    /// over one attempt is the probe all the same.
    ///
    /// # Errors
    /// How long not to ask.
    pub fn admit(&mut self, now: Instant, ignore_soft: bool) -> Result<Pass, Duration> {
        let wait = match (self.ejected_until(now), self.probing) {
            (Some(until), _) => until.saturating_duration_since(now),
            (None, _) if self.open_until.is_none() => return Ok(Pass::default()),
            (None, Some((_, since))) if now.saturating_duration_since(since) < PROBE_MAX => {
                PROBE_MAX - now.saturating_duration_since(since)
            }
            (None, _) => {
                self.probes = self.probes.wrapping_add(1);
                self.probing = Some((self.probes, now));
                return Ok(Pass { probe: Some(self.probes) });
            }
        };
        if ignore_soft && self.is_soft(now) { Ok(Pass::default()) } else { Err(wait) }
    }

    /// True when this is the probe that is out, and not one before it that was given up; it is no longer.
    fn ends_probe(&mut self, probe: Option<u32>) -> bool {
        let ends = probe.is_some() && self.probing.map(|(number, _)| number) == probe;
        if ends {
            self.probing = None;
        }
        ends
    }

    /// A right that was not used.
    pub fn unused(&mut self, pass: Pass) {
        self.ends_probe(pass.probe);
    }

    /// Takes the end of an attempt; `lately` counts it already. True when it opened or closed.
    pub fn record(&mut self, seen: &Observation, lately: Lately, rule: &BreakerRule, now: Instant) -> bool {
        let before = self.state(now);
        let probe = self.ends_probe(seen.probe);
        match seen.sign {
            Sign::Good => self.good(probe, lately, rule, now),
            Sign::Failed => self.failed(probe, true, lately, rule, now),
            Sign::Overloaded(told) => {
                let news = self.is_news(seen, now);
                self.failed(probe, news, lately, rule, now);
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
                self.open(true, Ejection::SlowRate, rule, now);
            } else if lately.attempts >= rule.minimum_calls {
                // A healthy while: the next outage begins with a short cool-down again.
                self.opened = 0;
            }
        } else if probe {
            (self.open_until, self.told_until, self.soft) = (None, None, false);
            self.closed = Some(now);
        }
    }

    /// Attempts that a provider refuses together, because they are too many, say it once: the gate lowers its limit, and
    /// what counts is whether it refuses those that begin afterwards.
    fn is_news(&mut self, seen: &Observation, now: Instant) -> bool {
        let began = now.checked_sub(seen.duration).unwrap_or(now);
        let news = self.overloaded.is_none_or(|at| began >= at);
        if news {
            self.overloaded = Some(now);
        }
        news
    }

    fn failed(&mut self, probe: bool, counts: bool, lately: Lately, rule: &BreakerRule, now: Instant) {
        if self.open_until.is_some() {
            // Attempts that began before it opened say nothing new; but what is asked in spite of a rate and fails every
            // time is out for everybody.
            let dead = self.soft && counts && self.fails_in_a_row(rule);
            if probe || dead {
                let soft = self.soft && !dead;
                let why = if dead { Ejection::ConsecutiveFailures } else { Ejection::ProbeFailed };
                self.open(soft, why, rule, now);
            }
            return;
        }
        if self.closed.is_some_and(|since| now.saturating_duration_since(since) >= rule.cool_down_max) {
            // Long well, however little it was asked: the next outage begins with a short cool-down again.
            self.opened = 0;
        }
        if counts && self.fails_in_a_row(rule) {
            self.open(false, Ejection::ConsecutiveFailures, rule, now);
        } else if rule.failure_rate > 0 && over(lately.failed, lately, rule.failure_rate, rule) {
            self.open(true, Ejection::FailureRate, rule, now);
        }
    }

    /// Counts a failure; true when there were enough in a row.
    fn fails_in_a_row(&mut self, rule: &BreakerRule) -> bool {
        self.consecutive = self.consecutive.saturating_add(1);
        self.consecutive >= rule.consecutive_failures
    }

    fn open(&mut self, soft: bool, why: Ejection, rule: &BreakerRule, now: Instant) {
        let doubled = rule.cool_down.saturating_mul(1 << self.opened.min(16));
        self.opened = self.opened.saturating_add(1);
        (self.soft, self.why) = (soft, why);
        self.consecutive = 0;
        self.open_until = Some(now + doubled.min(rule.cool_down_max.max(rule.cool_down)));
    }
}

/// More than this percentage of enough attempts.
fn over(part: u32, lately: Lately, percent: u32, rule: &BreakerRule) -> bool {
    lately.attempts >= rule.minimum_calls.max(1)
        && u64::from(part) * 100 >= u64::from(percent) * u64::from(lately.attempts)
}
