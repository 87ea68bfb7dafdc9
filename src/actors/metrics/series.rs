//! The series that receipts and call records feed, and handles to those in use.
//!
//! Why handles: looking a series up by its labels writes and compares every label; a handle is one map look-up for all
//! series of a call or an attempt.
//!
//! Invariants: every series comes from the table in [`names`](super::names); the maps are bounded, and what exceeds them
//! is counted under `other`, never left out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::exposition::{Distribution, Family};
use super::labels::{Capped, MODELS_MAX, OTHER, PAIRS_MAX, PROVIDERS_MAX};
use super::names::Metric;
use crate::error::Shed;
use crate::money::UNITS_PER_USD;
use crate::receipt::{CallRecord, Outcome, Receipt};

/// Combinations of labels at most, each for calls and for how attempts ended.
pub const HANDLES_MAX: usize = 10_000;

/// Values of the `kind` label of tokens.
const TOKEN_KINDS: [&str; 5] = ["prompt", "cached", "cache_write", "completion", "reasoning"];

/// Every outcome, by its number.
pub const OUTCOMES: [Outcome; 3] = [Outcome::Completed, Outcome::Failed, Outcome::Cancelled];

/// Series of calls and attempts.
pub struct Series {
    requests: Family<u64>,
    request_duration: Family<Distribution>,
    overhead: Family<Distribution>,
    sheds: Family<u64>,
    attempts: Family<u64>,
    upstream_duration: Family<Distribution>,
    first_token: Family<Distribution>,
    per_token: Family<Distribution>,
    tokens: Family<u64>,
    cost: Family<f64>,
    unpriced: Family<u64>,
    providers: Capped,
    models: Capped,
    calls: HashMap<CallKey, CallHandles>,
    pairs: HashMap<Pair, usize>,
    handles: Vec<PairHandles>,
    /// How attempts ended, over all pairs.
    ends: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CallKey {
    route: &'static str,
    status: u16,
    error: Option<&'static str>,
    stream: bool,
}

/// Places of series.
#[derive(Clone, Copy)]
struct CallHandles {
    requests: usize,
    duration: usize,
    overhead: usize,
}

/// A provider and a model, as they are labelled.
type Pair = (Arc<str>, Arc<str>);

/// Places of the series of one pair.
struct PairHandles {
    pair: Pair,
    first_token: Option<usize>,
    per_token: Option<usize>,
    durations: [Option<usize>; OUTCOMES.len()],
    tokens: [usize; TOKEN_KINDS.len()],
    cost: usize,
    unpriced: usize,
    ends: Vec<(Outcome, Option<&'static str>, usize)>,
}

impl Series {
    /// Without calls or attempts.
    pub fn new() -> Self {
        let mut sheds = Family::new(Metric::Sheds);
        // In the order of the reasons, so that a reason is its place.
        Shed::ALL.into_iter().for_each(|(_, word)| sheds.set(&[word], 0));
        Self {
            requests: Family::new(Metric::Requests),
            request_duration: Family::new(Metric::RequestDuration),
            overhead: Family::new(Metric::Overhead),
            sheds,
            attempts: Family::new(Metric::Attempts),
            upstream_duration: Family::new(Metric::UpstreamDuration),
            first_token: Family::new(Metric::TimeToFirstToken),
            per_token: Family::new(Metric::TimePerOutputToken),
            tokens: Family::new(Metric::Tokens),
            cost: Family::new(Metric::Cost),
            unpriced: Family::new(Metric::Unpriced),
            providers: Capped::new(PROVIDERS_MAX),
            models: Capped::new(MODELS_MAX),
            calls: HashMap::new(),
            pairs: HashMap::new(),
            handles: Vec::new(),
            ends: 0,
        }
    }

    /// Counts a call.
    pub fn call(&mut self, call: &CallRecord) {
        let mut key =
            CallKey { route: call.route, status: call.status, error: call.error, stream: call.stream };
        if self.calls.len() >= HANDLES_MAX && !self.calls.contains_key(&key) {
            key = CallKey { route: OTHER, status: 0, error: Some(OTHER), stream: false };
        }
        let handles = *match self.calls.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let (status, stream) = (key.status.to_string(), if key.stream { "true" } else { "false" });
                entry.insert(CallHandles {
                    requests: self.requests.at(&[key.route, &status, key.error.unwrap_or("none")]),
                    duration: self.request_duration.at(&[key.route, stream]),
                    overhead: self.overhead.at(&[key.route]),
                })
            }
        };
        add(&mut self.requests, handles.requests, 1);
        observe(&mut self.request_duration, handles.duration, call.duration_us as f64 / 1e6);
        // A call that was refused at the door never got as far as to have an overhead.
        if call.attempts > 0 {
            observe(&mut self.overhead, handles.overhead, call.overhead_us as f64 / 1e6);
        }
        if let Some(why) = call.shed {
            add(&mut self.sheds, why as usize, 1);
        }
    }

    /// Counts an attempt by its completed receipt.
    pub fn attempt(&mut self, receipt: &Receipt) {
        let model = if receipt.known_model { Arc::clone(&receipt.model) } else { self.models.other() };
        let pair = (Arc::clone(&receipt.provider), model);
        // Most of the time it is a pair that is there.
        let at = match self.pairs.get(&pair) {
            Some(at) => *at,
            None => self.placed(pair),
        };
        self.count(at, receipt);
    }

    /// The place of a pair under the caps, which is made if need be.
    fn placed(&mut self, (provider, model): Pair) -> usize {
        let provider = self.providers.admit(&provider);
        let model = if &*model == OTHER { model } else { self.models.admit(&model) };
        let mut pair = (provider, model);
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&pair) {
            pair.1 = self.models.other();
        }
        if let Some(at) = self.pairs.get(&pair) {
            return *at;
        }
        let (provider, model): (&str, &str) = (&pair.0, &pair.1);
        self.handles.push(PairHandles {
            first_token: None,
            per_token: None,
            durations: [None; OUTCOMES.len()],
            tokens: TOKEN_KINDS.map(|kind| self.tokens.at(&[provider, model, kind])),
            cost: self.cost.at(&[provider, model]),
            unpriced: self.unpriced.at(&[provider]),
            ends: Vec::new(),
            pair: pair.clone(),
        });
        self.pairs.insert(pair, self.handles.len() - 1);
        self.handles.len() - 1
    }

    fn count(&mut self, at: usize, receipt: &Receipt) {
        let Some(handles) = self.handles.get_mut(at) else { return };
        let (outcome, error) = (receipt.outcome, receipt.error);
        let (provider, model): (&str, &str) = (&handles.pair.0, &handles.pair.1);
        let known = handles.ends.iter().find(|end| (end.0, end.1) == (outcome, error)).map(|end| end.2);
        let attempts = known.unwrap_or_else(|| {
            let error = if self.ends < HANDLES_MAX { error } else { Some(OTHER) };
            let at = self.attempts.at(&[provider, model, outcome.as_str(), error.unwrap_or("none")]);
            if self.ends < HANDLES_MAX {
                self.ends += 1;
                handles.ends.push((outcome, error, at));
            }
            at
        });
        add(&mut self.attempts, attempts, 1);
        let labels = [provider, model];
        if let Some(place) = handles.durations.get_mut(outcome as usize) {
            let family = &mut self.upstream_duration;
            let at = *place.get_or_insert_with(|| family.at(&[provider, model, outcome.as_str()]));
            observe(family, at, f64::from(receipt.duration_ms) / 1e3);
        }
        if let Some(ttft_ms) = receipt.ttft_ms {
            let at = *handles.first_token.get_or_insert_with(|| self.first_token.at(&labels));
            observe(&mut self.first_token, at, f64::from(ttft_ms) / 1e3);
        }
        if let Some(seconds) = per_token(receipt) {
            let at = *handles.per_token.get_or_insert_with(|| self.per_token.at(&labels));
            observe(&mut self.per_token, at, seconds);
        }
        if let Some(usage) = receipt.usage {
            let cache_write = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
            let counts =
                [usage.prompt, usage.cache_read, cache_write, usage.completion, usage.reasoning.unwrap_or(0)];
            handles.tokens.iter().zip(counts).for_each(|(at, count)| add(&mut self.tokens, *at, count));
        }
        if let (Some(cost), Some(sum)) = (receipt.cost, self.cost.value(handles.cost)) {
            *sum += cost.units().max(0) as f64 / UNITS_PER_USD as f64;
        }
        if receipt.is_unpriced() {
            add(&mut self.unpriced, handles.unpriced, 1);
        }
    }

    /// Writes all of them.
    pub fn write(&mut self, out: &mut String) {
        let counts =
            [&mut self.requests, &mut self.sheds, &mut self.attempts, &mut self.tokens, &mut self.unpriced];
        counts.into_iter().for_each(|family| family.write(out));
        let times = [
            &mut self.request_duration,
            &mut self.overhead,
            &mut self.upstream_duration,
            &mut self.first_token,
        ];
        times.into_iter().chain([&mut self.per_token]).for_each(|family| family.write(out));
        self.cost.write(out);
    }
}

/// Mean seconds between the tokens of a completed stream; `None` where there were not two, or nobody knows.
fn per_token(receipt: &Receipt) -> Option<f64> {
    let told = receipt.stream && receipt.outcome == Outcome::Completed;
    let ttft_ms = receipt.ttft_ms.filter(|_| told)?;
    let after_first = receipt.usage?.completion.checked_sub(1).filter(|tokens| *tokens > 0)?;
    Some(f64::from(receipt.duration_ms.saturating_sub(ttft_ms)) / 1e3 / after_first as f64)
}

/// Adds to a count.
pub fn add(family: &mut Family<u64>, at: usize, more: u64) {
    if let Some(count) = family.value(at) {
        *count = count.saturating_add(more);
    }
}

fn observe(family: &mut Family<Distribution>, at: usize, value: f64) {
    if let Some(distribution) = family.value(at) {
        distribution.observe(value);
    }
}
