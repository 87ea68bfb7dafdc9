//! The histograms of the GenAI conventions: which there are, and what feeds them.
//!
//! Invariants: every call and attempt is counted, whether it is traced or not; the number of series is bounded, and what
//! exceeds it is counted under `other`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::actors::metrics::labels::{Capped, MODELS_MAX, PROVIDERS_MAX};
use crate::receipt::{CallRecord, Outcome, Receipt};
use crate::telemetry::otlp::{Attributes, Histogram, Instrument, Point, operation};

/// Series at most, over the life of the process; those under `other` are beyond it.
const SERIES_MAX: usize = 2_000;

/// What tells one series from the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    instrument: Instrument,
    operation: &'static str,
    provider: Arc<str>,
    model: Arc<str>,
    error: Option<&'static str>,
    token: Option<&'static str>,
}

impl Key {
    fn attributes(&self) -> String {
        let mut attributes = Attributes::new();
        attributes.text("gen_ai.operation.name", self.operation);
        attributes.text("gen_ai.provider.name", &self.provider);
        attributes.text("gen_ai.request.model", &self.model);
        attributes.maybe("error.type", self.error);
        attributes.maybe("gen_ai.token.type", self.token);
        attributes.finish()
    }
}

/// All histograms.
pub struct Meters {
    since_ns: u64,
    series: HashMap<Key, (String, Histogram)>,
    providers: Capped,
    models: Capped,
}

impl Meters {
    /// Nothing counted, from now on.
    pub fn new(now_ns: u64) -> Self {
        Self {
            since_ns: now_ns,
            series: HashMap::new(),
            providers: Capped::new(PROVIDERS_MAX),
            models: Capped::new(MODELS_MAX),
        }
    }

    fn record(&mut self, mut key: Key, value: f64) {
        if self.series.len() >= SERIES_MAX && !self.series.contains_key(&key) {
            (key.provider, key.model) = (self.providers.other(), self.models.other());
        }
        // What it is called is written when it is first seen.
        let (_, histogram) = match self.series.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let made = (new.key().attributes(), Histogram::new(new.key().instrument));
                new.insert(made)
            }
        };
        histogram.record(value);
    }

    fn model(&mut self, model: &Arc<str>, known: bool) -> Arc<str> {
        if known { self.models.admit(model) } else { self.models.other() }
    }

    /// An attempt ended.
    pub fn attempt(&mut self, receipt: &Receipt) {
        let key = Key {
            instrument: Instrument::OperationDuration,
            operation: "chat",
            provider: self.providers.admit(&receipt.provider),
            model: self.model(&receipt.model, receipt.known_model),
            error: receipt.error,
            token: None,
        };
        if let Some(usage) = &receipt.usage {
            for (token, count) in [("input", usage.prompt), ("output", usage.completion)] {
                // What failed before it began used nothing: no value, and not a value of nothing.
                if count > 0 {
                    let key = Key {
                        instrument: Instrument::TokenUsage,
                        error: None,
                        token: Some(token),
                        ..key.clone()
                    };
                    self.record(key, count as f64);
                }
            }
        }
        self.record(key, f64::from(receipt.duration_ms) / 1e3);
    }

    /// A call ended. One that no model was chosen for is not one of these operations yet.
    pub fn call(&mut self, call: &CallRecord) {
        let (Some(operation), Some(by)) = (operation(call.route), &call.told.by) else { return };
        let key = Key {
            instrument: Instrument::RequestDuration,
            operation,
            provider: self.providers.admit(&by.provider),
            model: self.model(&by.model, by.known_model),
            error: call.error,
            token: None,
        };
        let seconds = call.duration_us as f64 / 1e6;
        if let Some(ttft_us) = call.ttft_us.filter(|_| call.stream && call.outcome == Outcome::Completed) {
            let first = ttft_us as f64 / 1e6;
            self.record(Key { instrument: Instrument::TimeToFirstToken, ..key.clone() }, first);
            if let Some((_, tokens)) = call.told.tokens.filter(|(_, tokens)| *tokens > 1) {
                let each = (seconds - first).max(0.0) / (tokens - 1) as f64;
                self.record(Key { instrument: Instrument::TimePerOutputToken, ..key.clone() }, each);
            }
        }
        self.record(key, seconds);
    }

    /// Every metric that has points, as JSON, and how many points there are.
    pub fn written(&self, now_ns: u64) -> (Vec<String>, u64) {
        let point = Point { since_ns: self.since_ns, now_ns };
        let metrics = Instrument::ALL.iter().filter_map(|instrument| {
            let mut points = String::new();
            for (key, (attributes, histogram)) in &self.series {
                if key.instrument == *instrument {
                    histogram.write(attributes, point, &mut points);
                }
            }
            (!points.is_empty()).then(|| instrument.metric(&points))
        });
        (metrics.collect(), self.series.len() as u64)
    }
}
