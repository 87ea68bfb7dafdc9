//! The series: the registry's instruments, and handles to those in use.
//!
//! Why handles: looking a series up by its labels hashes and compares every label; a handle is one map look-up
//! for all series of a call or an attempt.
//!
//! Invariants: every instrument comes from the table in [`names`](super::names); the maps are bounded, and what
//! exceeds them is counted under `other`, never left out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    Opts, Registry,
};

use super::labels::{Capped, MODELS_MAX, OTHER, PROVIDERS_MAX};
use super::names::{Kind, Metric};
use crate::receipt::{CallRecord, Outcome, Receipt};

/// Combinations of labels with handles at most, each for calls and for attempts.
pub const HANDLES_MAX: usize = 10_000;

/// Values of the `kind` label of tokens.
const TOKEN_KINDS: [&str; 5] = ["prompt", "cached", "cache_write", "completion", "reasoning"];

type Result<T> = std::result::Result<T, prometheus::Error>;

/// Instruments fed by receipts and call records.
pub struct Series {
    requests: IntCounterVec,
    request_duration: HistogramVec,
    overhead: HistogramVec,
    attempts: IntCounterVec,
    upstream_duration: HistogramVec,
    first_token: HistogramVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    unpriced: IntCounterVec,
    providers: Capped,
    models: Capped,
    call_handles: HashMap<CallKey, CallHandles>,
    attempt_handles: HashMap<AttemptKey, AttemptHandles>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CallKey {
    route: &'static str,
    status: u16,
    error: Option<&'static str>,
    stream: bool,
}

struct CallHandles {
    requests: IntCounter,
    duration: Histogram,
    overhead: Histogram,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct AttemptKey {
    provider: Arc<str>,
    model: Arc<str>,
    outcome: Outcome,
    error: Option<&'static str>,
}

struct AttemptHandles {
    attempts: IntCounter,
    duration: Histogram,
    first_token: Histogram,
    tokens: [IntCounter; TOKEN_KINDS.len()],
    cost: Counter,
    unpriced: IntCounter,
}

impl Series {
    /// Instruments without any series yet, registered.
    ///
    /// # Errors
    /// The registry refuses: a name twice, or not a name.
    pub fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            requests: int_counter(registry, Metric::Requests)?,
            request_duration: histogram(registry, Metric::RequestDuration)?,
            overhead: histogram(registry, Metric::Overhead)?,
            attempts: int_counter(registry, Metric::Attempts)?,
            upstream_duration: histogram(registry, Metric::UpstreamDuration)?,
            first_token: histogram(registry, Metric::TimeToFirstToken)?,
            tokens: int_counter(registry, Metric::Tokens)?,
            cost: register(registry, CounterVec::new(opts(Metric::Cost), labels(Metric::Cost))?)?,
            unpriced: int_counter(registry, Metric::Unpriced)?,
            providers: Capped::new(PROVIDERS_MAX),
            models: Capped::new(MODELS_MAX),
            call_handles: HashMap::new(),
            attempt_handles: HashMap::new(),
        })
    }

    /// Counts a call.
    ///
    /// # Errors
    /// The table and the label values do not fit, which a test rules out.
    pub fn call(&mut self, call: &CallRecord) -> Result<()> {
        let key = CallKey { route: call.route, status: call.status, error: call.error, stream: call.stream };
        let overflow = CallKey { route: OTHER, status: 0, error: Some(OTHER), stream: false };
        let key = bounded(&self.call_handles, key, overflow);
        let handles = match self.call_handles.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let (status, stream) = (key.status.to_string(), if key.stream { "true" } else { "false" });
                let labels = [key.route, &status, key.error.unwrap_or("none")];
                entry.insert(CallHandles {
                    requests: self.requests.get_metric_with_label_values(&labels)?,
                    duration: self.request_duration.get_metric_with_label_values(&[key.route, stream])?,
                    overhead: self.overhead.get_metric_with_label_values(&[key.route])?,
                })
            }
        };
        handles.requests.inc();
        handles.duration.observe(call.duration_us as f64 / 1e6);
        // A call that was refused at the door never got as far as to have an overhead.
        if call.attempts > 0 {
            handles.overhead.observe(call.overhead_us as f64 / 1e6);
        }
        Ok(())
    }

    /// Counts an attempt by its completed receipt.
    ///
    /// # Errors
    /// The table and the label values do not fit, which a test rules out.
    pub fn attempt(&mut self, receipt: &Receipt) -> Result<()> {
        let provider = self.providers.admit(&receipt.provider);
        let model = if receipt.known_model { self.models.admit(&receipt.model) } else { self.models.other() };
        let (outcome, error) = (receipt.outcome, receipt.error);
        let overflow =
            AttemptKey { provider: self.providers.other(), model: self.models.other(), outcome, error };
        let key = bounded(&self.attempt_handles, AttemptKey { provider, model, outcome, error }, overflow);
        if !self.attempt_handles.contains_key(&key) {
            let handles = self.attempt_series(&key)?;
            self.attempt_handles.insert(key.clone(), handles);
        }
        if let Some(handles) = self.attempt_handles.get(&key) {
            handles.observe(receipt);
        }
        Ok(())
    }

    /// Every series that attempts with these labels feed.
    fn attempt_series(&self, key: &AttemptKey) -> Result<AttemptHandles> {
        let (provider, model, outcome) = (&*key.provider, &*key.model, key.outcome.as_str());
        let [prompt, cached, cache_write, completion, reasoning] = TOKEN_KINDS;
        let tokens = |kind| self.tokens.get_metric_with_label_values(&[provider, model, kind]);
        let error = key.error.unwrap_or("none");
        Ok(AttemptHandles {
            attempts: self.attempts.get_metric_with_label_values(&[provider, model, outcome, error])?,
            duration: self.upstream_duration.get_metric_with_label_values(&[provider, outcome])?,
            first_token: self.first_token.get_metric_with_label_values(&[provider])?,
            tokens: [
                tokens(prompt)?,
                tokens(cached)?,
                tokens(cache_write)?,
                tokens(completion)?,
                tokens(reasoning)?,
            ],
            cost: self.cost.get_metric_with_label_values(&[provider, model])?,
            unpriced: self.unpriced.get_metric_with_label_values(&[provider])?,
        })
    }
}

impl AttemptHandles {
    fn observe(&self, receipt: &Receipt) {
        self.attempts.inc();
        self.duration.observe(f64::from(receipt.duration_ms) / 1e3);
        if let Some(ttft_ms) = receipt.ttft_ms {
            self.first_token.observe(f64::from(ttft_ms) / 1e3);
        }
        if let Some(usage) = receipt.usage {
            let cache_write = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
            let counts =
                [usage.prompt, usage.cache_read, cache_write, usage.completion, usage.reasoning.unwrap_or(0)];
            for (counter, count) in self.tokens.iter().zip(counts) {
                counter.inc_by(count);
            }
        }
        if let Some(cost) = receipt.cost {
            self.cost.inc_by(cost.units().max(0) as f64 / crate::money::UNITS_PER_USD as f64);
        }
        if receipt.is_unpriced() {
            self.unpriced.inc();
        }
    }
}

/// `key`, or `overflow` when the map has no room for it.
fn bounded<K: Eq + Hash, V>(map: &HashMap<K, V>, key: K, overflow: K) -> K {
    if map.len() < HANDLES_MAX || map.contains_key(&key) { key } else { overflow }
}

/// Names and help of the table's row.
fn opts(metric: Metric) -> Opts {
    Opts::new(metric.spec().name, metric.spec().help)
}

/// Label names of the table's row.
const fn labels(metric: Metric) -> &'static [&'static str] {
    metric.spec().labels
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Whole numbers that only grow, with labels.
///
/// # Errors
/// As [`Series::new`].
pub fn int_counter(registry: &Registry, metric: Metric) -> Result<IntCounterVec> {
    register(registry, IntCounterVec::new(opts(metric), labels(metric))?)
}

fn histogram(registry: &Registry, metric: Metric) -> Result<HistogramVec> {
    let opts = HistogramOpts::from(opts(metric));
    let opts =
        if let Kind::Histogram(buckets) = metric.spec().kind { opts.buckets(buckets.to_vec()) } else { opts };
    register(registry, HistogramVec::new(opts, labels(metric))?)
}

/// A gauge without labels.
///
/// # Errors
/// As [`Series::new`].
pub fn gauge(registry: &Registry, metric: Metric) -> Result<Gauge> {
    register(registry, Gauge::with_opts(opts(metric))?)
}

/// A gauge with labels.
///
/// # Errors
/// As [`Series::new`].
pub fn labelled_gauge(registry: &Registry, metric: Metric) -> Result<GaugeVec> {
    register(registry, GaugeVec::new(opts(metric), labels(metric))?)
}

/// A counter of fractions without labels.
///
/// # Errors
/// As [`Series::new`].
pub fn counter(registry: &Registry, metric: Metric) -> Result<Counter> {
    register(registry, Counter::with_opts(opts(metric))?)
}
