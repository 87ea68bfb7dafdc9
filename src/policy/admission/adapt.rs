//! The adaptive limit: down when the provider refuses for overload or slows down, up again while it copes.
//!
//! Nobody loses throughput without a sign: it starts at the ceiling. A refusal lowers it to a little under what was in
//! flight; it grows back quickly to where it last was well, and slowly beyond. It grows with good answers where it is
//! what binds, and with time in any case: attempts may take minutes, and an old refusal says nothing of today.

use std::time::Instant;

use crate::config::AdmissionRule;
use crate::policy::health::{Observation, Sign};

/// What is left of the limit after a refusal.
const BACK_OFF: f64 = 0.95;
/// What is left of it when answers begin much later than usual.
const SLOWED: f64 = 0.95;
/// How much later than usual is much.
const TOLERANCE: f64 = 2.0;
/// Steps per round of good answers: well below the last good limit, close to it, and beyond it.
const RECOVERY: f64 = 4.0;
const NEAR: f64 = 0.25;
const BEYOND: f64 = 1.0;
/// The share of the limit by which it grows in a second at least: close to the last good limit, and elsewhere.
const NEAR_PER_S: f64 = 0.02;
const ELSEWHERE_PER_S: f64 = 0.1;
/// How fast the recent and the usual time to the first content follow.
const RECENT: f64 = 0.1;
const USUAL: f64 = 0.002;

/// The limit of one provider.
#[derive(Debug, Default)]
pub struct Adaptive {
    /// `None` until a sign: the ceiling.
    limit: Option<f64>,
    /// Where it last was before a refusal.
    last_good: f64,
    lowered: Option<Instant>,
    /// When it last changed.
    changed: Option<Instant>,
    recent_s: Option<f64>,
    usual_s: Option<f64>,
}

impl Adaptive {
    /// Attempts that may be under way.
    pub fn limit(&self, rule: &AdmissionRule) -> usize {
        match self.limit {
            // Between the floor, at least one, and the ceiling: no sign is lost in the cast.
            Some(limit) if rule.adaptive => {
                (limit as usize).clamp(rule.floor.clamp(1, rule.ceiling), rule.ceiling)
            }
            _ => rule.ceiling,
        }
    }

    /// Takes the end of an attempt; `in_flight` counts it still.
    pub fn observe(&mut self, seen: &Observation, in_flight: usize, rule: &AdmissionRule, now: Instant) {
        if !rule.adaptive {
            return;
        }
        let (floor, ceiling) = (rule.floor.clamp(1, rule.ceiling) as f64, rule.ceiling as f64);
        match seen.sign {
            Sign::Overloaded(_) | Sign::Limited(_) => {
                // So few at a time are always let in: that they are refused has another reason than their number.
                let limit = self.limit.unwrap_or(ceiling).min(in_flight as f64);
                if limit > floor && self.lower(limit * BACK_OFF, floor, seen, now) {
                    self.last_good = limit;
                }
            }
            Sign::Good => self.good(seen, in_flight, floor, ceiling, now),
            Sign::Failed | Sign::Refused | Sign::Forbidden | Sign::Neutral => {}
        }
    }

    fn good(&mut self, seen: &Observation, in_flight: usize, floor: f64, ceiling: f64, now: Instant) {
        let slowed = seen.ttft.is_some_and(|ttft| self.slowed(ttft.as_secs_f64()));
        let Some(limit) = self.limit else { return };
        let binds = in_flight as f64 >= 0.8 * limit.floor();
        if binds && slowed {
            self.lower(limit * SLOWED, floor, seen, now);
            return;
        }
        let (steps, per_s) = match limit / self.last_good {
            share if share < 0.9 => (RECOVERY, ELSEWHERE_PER_S),
            share if share < 1.0 => (NEAR, NEAR_PER_S),
            _ => (BEYOND, ELSEWHERE_PER_S),
        };
        let passed = self.changed.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        // Where it does not bind, good answers say nothing of it: only time does.
        let by_answers = if binds { steps / limit.max(1.0) } else { 0.0 };
        let grown = limit + by_answers.max(limit * per_s * passed);
        self.changed = Some(now);
        self.limit = (grown < ceiling).then_some(grown.max(floor));
    }

    /// Lowers it, but not for attempts that began before it was lowered last: they would say the same again.
    fn lower(&mut self, to: f64, floor: f64, seen: &Observation, now: Instant) -> bool {
        let began = now.checked_sub(seen.duration).unwrap_or(now);
        if self.lowered.is_some_and(|at| began < at) {
            return false;
        }
        (self.lowered, self.changed) = (Some(now), Some(now));
        self.limit = Some(to.max(floor));
        true
    }

    /// Follows the times to the first content; true when they are much longer than usual.
    fn slowed(&mut self, ttft_s: f64) -> bool {
        let follow =
            |mean: Option<f64>, share: f64| mean.map_or(ttft_s, |mean| mean + share * (ttft_s - mean));
        let (recent, usual) = (follow(self.recent_s, RECENT), follow(self.usual_s, USUAL));
        (self.recent_s, self.usual_s) = (Some(recent), Some(usual.min(recent.max(usual * (1.0 - USUAL)))));
        recent > TOLERANCE * usual
    }
}
