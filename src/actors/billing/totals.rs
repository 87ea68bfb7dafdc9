//! Sums since the process started, by key, model and provider. For a look at a running gateway; the store's
//! roll-up is the truth.
//!
//! Invariant: bounded; what comes after [`GROUPS_MAX`] names is summed under `other`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::receipt::{Outcome, Receipt};

/// Names held per dimension at most.
pub const GROUPS_MAX: usize = 10_000;

/// Sums over receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Attempts that reached an upstream.
    pub attempts: u64,
    /// Those that did not complete.
    pub failed: u64,
    /// Input tokens.
    pub prompt: u64,
    /// Output tokens.
    pub completion: u64,
    /// Cost in units of 1e-12 USD.
    pub cost_units: i128,
    /// Attempts that may have cost money and nobody can tell how much.
    pub unpriced: u64,
}

/// Sums by dimension.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Over everything.
    pub all: Total,
    /// By key id.
    pub by_key: HashMap<Arc<str>, Total>,
    /// By model.
    pub by_model: HashMap<Arc<str>, Total>,
    /// By provider id.
    pub by_provider: HashMap<Arc<str>, Total>,
}

impl Totals {
    /// Adds one completed receipt to every sum it belongs to.
    pub fn add(&mut self, receipt: &Receipt) {
        self.all.add(receipt);
        group(&mut self.by_key, &receipt.caller.key_id).add(receipt);
        group(&mut self.by_model, &receipt.model).add(receipt);
        group(&mut self.by_provider, &receipt.provider).add(receipt);
    }
}

/// The sum of one name, or of all that came too late.
fn group<'a>(groups: &'a mut HashMap<Arc<str>, Total>, name: &Arc<str>) -> &'a mut Total {
    let full = groups.len() >= GROUPS_MAX && !groups.contains_key(name);
    let name = if full { Arc::from("other") } else { Arc::clone(name) };
    groups.entry(name).or_default()
}

impl Total {
    /// Adds one receipt.
    fn add(&mut self, receipt: &Receipt) {
        let usage = receipt.usage.unwrap_or_default();
        self.attempts += 1;
        self.failed += u64::from(receipt.outcome != Outcome::Completed);
        self.prompt = self.prompt.saturating_add(usage.prompt);
        self.completion = self.completion.saturating_add(usage.completion);
        self.cost_units += i128::from(receipt.cost.unwrap_or_default().units());
        self.unpriced += u64::from(receipt.is_unpriced());
    }
}
