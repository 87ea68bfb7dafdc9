//! Which candidate is asked first: price, weighed by how each has been doing and how busy it is.
//!
//! Pure: readings, load and the random number are inputs. Invariant: where nothing is known (no attempts, no load)
//! the order is cheapest first, ties as in the files, in every mode.

use super::{Now, Target};
use crate::chat::Routing;
use crate::policy::admission::Load;
use crate::policy::hash::{mixed, rendezvous};
use crate::policy::health::Reading;

/// Successes that a target without attempts is taken to have had: a first failure then does not damn it.
const PRIOR_SUCCESSES: f64 = 20.0;
/// Attempts' worth of the mean of all that is mixed into a speed: few attempts say little.
const PRIOR_SPEEDS: f64 = 20.0;
/// Times to the first token up to this multiple of the quickest count as alike, under `balanced`.
const LATENCY_DEAD_ZONE: f64 = 1.5;
/// The most that slowness counts, under `balanced`.
const LATENCY_FACTOR_MAX: f64 = 4.0;
/// The share of a gate's limit up to which load does not count.
const LOAD_DEAD_ZONE: f64 = 0.5;
/// Prices and scores this close are equal.
const EQUAL: f64 = 1.01;
/// How much dearer than the cheapest a session's target may be.
const STICKY_PRICE: f64 = 1.05;
/// How much dearer than the cheapest an explored target may be.
const EXPLORED_PRICE: f64 = 1.25;
/// Draws of a chance are out of this many.
const PER_MILLE: u64 = 1000;

/// What an operator sets of routing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// What counts most where neither the request nor its alias says so.
    pub mode: Routing,
    /// How many of 1000 calls try another target first, so that its numbers stay current.
    pub exploration: u32,
}

/// A target, and what its place depends on.
pub(super) struct Candidate {
    pub target: Target,
    /// Units of money per token, blended; at least 1, so that health counts among free ones, too.
    pub price: f64,
    /// Large enough, as far as is known.
    pub fits: bool,
    /// Its place in the caller's order of providers.
    pub preference: usize,
    pub reading: Reading,
    pub load: Load,
    /// Credentials that can be had now, of how many.
    pub credentials: (usize, usize),
}

/// A candidate's place is decided by these, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rank {
    ejected: bool,
    unfit: bool,
    preference: usize,
    full: bool,
}

impl Rank {
    fn key(self) -> (bool, bool, usize, bool) {
        (self.ejected, self.unfit, self.preference, self.full)
    }
}

/// What a score is made of; lower is better.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scored {
    rank: Rank,
    price: f64,
    /// The score but for the load.
    base: f64,
    /// At least 1.
    load: f64,
}

impl Scored {
    /// Alike but for the load.
    fn equals(&self, other: &Self) -> bool {
        self.rank == other.rank && close(self.price, other.price) && close(self.base, other.base)
    }
}

fn close(one: f64, other: f64) -> bool {
    one.max(other) <= one.min(other) * EQUAL
}

/// Puts candidates in order. One model at one provider appears once, under the name that comes first: the others
/// share its fate.
pub(super) fn order(
    mut candidates: Vec<Candidate>,
    session: Option<u64>,
    mode: Routing,
    exploration: u32,
    now: &Now<'_>,
) -> Vec<Target> {
    spare_half(candidates.iter_mut().map(|one| (&one.reading, &mut one.target.ignore_soft)), now);
    let means = Means::of(&candidates);
    let mut scored: Vec<(Scored, Candidate)> =
        candidates.into_iter().map(|one| (score(&one, &means, mode, now), one)).collect();
    scored.sort_by(|(one, _), (other, _)| {
        let scores = (one.base * one.load).total_cmp(&(other.base * other.load));
        one.rank.key().cmp(&other.rank.key()).then(scores).then(one.price.total_cmp(&other.price))
    });
    if let Some(notes) = now.notes {
        for (scored, one) in &scored {
            notes.candidate(one, scored.base * scored.load, scored.rank.ejected);
        }
    }
    let mut once: Vec<(Scored, Target)> = Vec::with_capacity(scored.len());
    for (score, Candidate { target, .. }) in scored {
        let same = |other: &Target| other.provider == target.provider && other.model == target.model;
        if !once.iter().any(|(_, other)| same(other)) {
            once.push((score, target));
        }
    }
    let first = chosen(&once, session, mode, exploration, now.random);
    if let Some(before) = first.and_then(|first| once.get_mut(..=first)) {
        before.rotate_right(1);
    }
    once.into_iter().map(|(_, target)| target).collect()
}

/// Who comes first in place of the best, if somebody does.
fn chosen(
    list: &[(Scored, Target)],
    session: Option<u64>,
    mode: Routing,
    exploration: u32,
    random: u64,
) -> Option<usize> {
    let (best, _) = list.first()?;
    let cheapest = || list.iter().take_while(|(one, _)| one.rank == best.rank).map(|(one, _)| one.price);
    let limit = cheapest().fold(f64::INFINITY, f64::min);
    let among = |factor: f64| {
        let near = move |one: &Scored| one.rank == best.rank && one.price <= limit * factor;
        list.iter().enumerate().filter(move |(_, (one, _))| near(one))
    };
    if let Some(session) = session {
        // Nobody's turn changes while it is well: the place of the highest hash does not depend on the others.
        let hash = |target: &Target| rendezvous(session, &target.provider, &target.upstream);
        let usable = !best.rank.ejected && !best.rank.full;
        return among(STICKY_PRICE)
            .filter(|_| usable)
            .max_by_key(|(_, (_, target))| hash(target))
            .map(|(at, _)| at);
    }
    let draw = mixed(random);
    if mode != Routing::Price && !best.rank.ejected && draw % PER_MILLE < u64::from(exploration) {
        let others: Vec<usize> = among(EXPLORED_PRICE).map(|(at, _)| at).filter(|at| *at > 0).collect();
        if let Some(other) = others.get(index(mixed(draw), others.len())) {
            return Some(*other);
        }
    }
    let same_rank = list.iter().take_while(|(one, _)| one.rank == best.rank).enumerate();
    let equals: Vec<(usize, f64)> =
        same_rank.filter(|(_, (one, _))| one.equals(best)).map(|(at, (one, _))| (at, one.load)).collect();
    two_choices(&equals, mixed(!draw))
}

/// The less busy of two that are drawn from places and their loads: all cells at once then do not rush to the one
/// that is least busy. Nobody where all are as busy: then the files' order stands.
fn two_choices(equals: &[(usize, f64)], random: u64) -> Option<usize> {
    let (_, load) = equals.first()?;
    if equals.iter().all(|(_, other)| close(*other, *load)) {
        return None;
    }
    let one = index(random, equals.len());
    let other = (one + 1 + index(mixed(random), equals.len() - 1)) % equals.len();
    let (one, other) = (equals.get(one.min(other))?, equals.get(one.max(other))?);
    Some(if other.1 < one.1 { other.0 } else { one.0 })
}

/// A place below `count`, which is at least 1.
fn index(random: u64, count: usize) -> usize {
    usize::try_from(random % count.max(1) as u64).unwrap_or(0)
}

/// Not asked for now, and not spared.
fn is_ejected(reading: &Reading, ignore_soft: bool, now: &Now<'_>) -> bool {
    let barred = reading.probing || reading.ejected_until.is_some_and(|until| now.at < until);
    barred && !(reading.soft && ignore_soft)
}

/// Spares those of the softly ejected that have done best, so that at most half of all are ejected: when everybody
/// is slow, somebody must still answer. What is ejected for good reason stays so, and counts.
fn spare_half<'a>(targets: impl Iterator<Item = (&'a Reading, &'a mut bool)>, now: &Now<'_>) {
    let (mut all, mut hard) = (0, 0);
    let mut soft = Vec::new();
    for (reading, ignore) in targets {
        all += 1;
        *ignore = false;
        match (is_ejected(reading, false, now), reading.soft) {
            (true, true) => soft.push((reading.success_rate.unwrap_or(1.0), ignore)),
            (true, false) => hard += 1,
            (false, _) => {}
        }
    }
    let kept = (all / 2_usize).saturating_sub(hard);
    soft.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    soft.into_iter().skip(kept).for_each(|(_, ignore)| *ignore = true);
}

/// Moves the ejected of a list whose order is the operator's to its end, sparing half as ever.
pub(super) fn ejected_last(targets: &mut [Target], now: &Now<'_>) {
    let readings: Vec<Reading> = targets.iter().map(|target| target.health.reading(now.at)).collect();
    spare_half(readings.iter().zip(targets.iter_mut().map(|target| &mut target.ignore_soft)), now);
    if readings.iter().any(|reading| is_ejected(reading, false, now)) {
        targets
            .sort_by_cached_key(|target| is_ejected(&target.health.reading(now.at), target.ignore_soft, now));
    }
}

/// True when the health of this target bars it now.
pub(super) fn is_out(target: &Target, now: &Now<'_>) -> bool {
    is_ejected(&target.health.reading(now.at), target.ignore_soft, now)
}

/// Means of what is known: what is unknown counts as that.
struct Means {
    ttft_ms: Option<f64>,
    tokens_per_s: Option<f64>,
    quickest_ms: f64,
}

impl Means {
    fn of(candidates: &[Candidate]) -> Self {
        let mean = |read: fn(&Reading) -> Option<f32>| {
            let known = candidates.iter().filter_map(|one| read(&one.reading)).map(f64::from);
            let (sum, count) = known.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
            (count > 0.0).then(|| sum / count)
        };
        let mut means = Self {
            ttft_ms: mean(|one| one.ttft_ms),
            tokens_per_s: mean(|one| one.tokens_per_s),
            quickest_ms: 1.0,
        };
        let ttfts = candidates.iter().map(|one| means.ttft(&one.reading));
        means.quickest_ms = ttfts.fold(f64::INFINITY, f64::min).max(1.0);
        means
    }

    /// Milliseconds to the first token, shrunk towards the mean.
    fn ttft(&self, reading: &Reading) -> f64 {
        self.ttft_ms.map_or(1.0, |mean| shrunk(reading.ttft_ms, reading.attempts, mean)).max(1.0)
    }

    /// Seconds for a token, shrunk likewise.
    fn seconds_per_token(&self, reading: &Reading) -> f64 {
        let speed = |mean| shrunk(reading.tokens_per_s, reading.attempts, mean);
        1.0 / self.tokens_per_s.map_or(1.0, speed).max(0.001)
    }
}

fn shrunk(known: Option<f32>, attempts: f32, mean: f64) -> f64 {
    let Some(known) = known else { return mean };
    let attempts = f64::from(attempts);
    (f64::from(known) * attempts + mean * PRIOR_SPEEDS) / (attempts + PRIOR_SPEEDS)
}

fn score(one: &Candidate, means: &Means, mode: Routing, now: &Now<'_>) -> Scored {
    let Candidate { reading, load, credentials: (usable, all), .. } = one;
    let rank = Rank {
        ejected: is_ejected(reading, one.target.ignore_soft, now),
        unfit: !one.fits,
        preference: one.preference,
        full: load.in_flight >= load.limit || *usable == 0,
    };
    let base = match mode {
        Routing::Price => one.price,
        Routing::Balanced => {
            one.price * penalty(reading) * latency_factor(means.ttft(reading), means.quickest_ms)
        }
        Routing::Latency => means.ttft(reading) * penalty(reading),
        Routing::Throughput => means.seconds_per_token(reading) * penalty(reading),
    };
    let load = if mode == Routing::Price { 1.0 } else { load_factor(load) * headroom_factor(*usable, *all) };
    Scored { rank, price: one.price, base, load }
}

/// A failure costs the time until it, and a further attempt: hence the square.
fn penalty(reading: &Reading) -> f64 {
    let attempts = f64::from(reading.attempts);
    let good = reading.success_rate.map_or(attempts, |rate| f64::from(rate) * attempts);
    let rate = (good + PRIOR_SUCCESSES) / (attempts + PRIOR_SUCCESSES);
    1.0 / (rate * rate).max(1e-6)
}

fn latency_factor(ttft_ms: f64, quickest_ms: f64) -> f64 {
    (ttft_ms / (quickest_ms * LATENCY_DEAD_ZONE)).clamp(1.0, LATENCY_FACTOR_MAX)
}

/// 1 up to half of the limit, 2 at the limit, more with a queue.
fn load_factor(load: &Load) -> f64 {
    let busy = (load.in_flight + load.queued) as f64 / load.limit.max(1) as f64;
    1.0 + (busy - LOAD_DEAD_ZONE).max(0.0) / (1.0 - LOAD_DEAD_ZONE)
}

/// 1 with all credentials at hand, towards 1.5 with few.
fn headroom_factor(usable: usize, all: usize) -> f64 {
    1.5 - 0.5 * (usable as f64 / all.max(1) as f64).min(1.0)
}

/// The place among a session's weighted choices: as likely as its weight says, and it stays when others come or go.
pub(super) fn weighted_rendezvous(session: u64, name: &str, weight: u64) -> f64 {
    let uniform = (rendezvous(session, name, "") >> 11) as f64 / (1_u64 << 53) as f64;
    weight as f64 / -uniform.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON).ln()
}

/// The hash of a session of one key: the same name under another key is another session.
pub fn session_hash(key_id: &str, name: &str) -> u64 {
    rendezvous(0, key_id, name)
}

#[cfg(test)]
mod tests;
