//! Calls, tokens and money by key. The first [`KEYS_MAX`] keys are told apart, in the order in which they come.

use std::collections::HashMap;
use std::sync::Arc;

use super::exposition::Family;
use super::labels::{KEYS_MAX, OTHER, short};
use super::names::Metric;
use super::series::{OUTCOMES, add};
use crate::money::UNITS_PER_USD;
use crate::receipt::{CallRecord, Receipt};
use crate::store::KeyTable;

/// Values of the `kind` label.
const KINDS: [&str; 3] = ["prompt", "cached", "completion"];

/// The series of keys.
pub struct Keys {
    requests: Family<u64>,
    tokens: Family<u64>,
    cost: Family<f64>,
    info: Family<f64>,
    places: HashMap<Arc<str>, Places>,
    /// Those of every further key, once there is one.
    others: Option<Places>,
}

/// Places of the series of one key.
#[derive(Clone, Copy)]
struct Places {
    requests: [usize; OUTCOMES.len()],
    tokens: [usize; KINDS.len()],
    cost: usize,
}

impl Keys {
    /// Without keys.
    pub fn new() -> Self {
        Self {
            requests: Family::new(Metric::KeyRequests),
            tokens: Family::new(Metric::KeyTokens),
            cost: Family::new(Metric::KeyCost),
            info: Family::new(Metric::KeyInfo),
            places: HashMap::new(),
            others: None,
        }
    }

    /// Counts a call, if it came with a key.
    pub fn call(&mut self, call: &CallRecord) {
        let Some(key) = &call.key_id else { return };
        let places = self.places(key);
        if let Some(at) = places.requests.get(call.outcome as usize) {
            add(&mut self.requests, *at, 1);
        }
    }

    /// Counts what an attempt used and what is charged for it.
    pub fn attempt(&mut self, receipt: &Receipt) {
        let places = self.places(&receipt.caller.key_id);
        if let Some(usage) = receipt.usage {
            let counts = [usage.prompt, usage.cache_read, usage.completion];
            places.tokens.iter().zip(counts).for_each(|(at, count)| add(&mut self.tokens, *at, count));
        }
        if let (Some(charged), Some(sum)) = (receipt.charged, self.cost.value(places.cost)) {
            *sum += charged.units().max(0) as f64 / UNITS_PER_USD as f64;
        }
    }

    fn places(&mut self, key: &Arc<str>) -> Places {
        if let Some(places) = self.places.get(key) {
            return *places;
        }
        if self.places.len() >= KEYS_MAX {
            if let Some(places) = self.others {
                return places;
            }
            let places = self.made(OTHER);
            self.others = Some(places);
            return places;
        }
        let places = self.made(key);
        self.places.insert(Arc::clone(key), places);
        places
    }

    fn made(&mut self, key: &str) -> Places {
        Places {
            requests: OUTCOMES.map(|outcome| self.requests.at(&[key, outcome.as_str()])),
            tokens: KINDS.map(|kind| self.tokens.at(&[key, kind])),
            cost: self.cost.at(&[key]),
        }
    }

    /// Says anew what the keys are called; one that has ended is not called anything.
    pub fn update(&mut self, table: &KeyTable) {
        self.info.clear();
        for id in self.places.keys() {
            // An expired key is still there, and called as ever.
            let Some(key) = table.find(id, i64::MIN) else { continue };
            let project = key.caller.project.as_deref().unwrap_or("");
            self.info.set(&[id, &short(&key.name), &short(project)], 1.0);
        }
        if self.others.is_some() {
            self.info.set(&[OTHER, OTHER, ""], 1.0);
        }
    }

    /// Writes all of them.
    pub fn write(&mut self, out: &mut String) {
        self.requests.write(out);
        self.tokens.write(out);
        self.cost.write(out);
        self.info.write(out);
    }
}
