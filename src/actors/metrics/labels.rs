//! Label values under a cap: what makes every label bounded by construction.

use std::collections::HashSet;
use std::sync::Arc;

/// What a value becomes that may not label a series.
pub const OTHER: &str = "other";
/// Models that label series at most, over the life of the process.
pub const MODELS_MAX: usize = 1_000;
/// Providers that label series at most, over the life of the process.
pub const PROVIDERS_MAX: usize = 200;

/// The values of one label, first come, first served; all later ones are [`OTHER`].
#[derive(Debug)]
pub struct Capped {
    max: usize,
    seen: HashSet<Arc<str>>,
    other: Arc<str>,
}

impl Capped {
    /// At most `max` values besides [`OTHER`].
    pub fn new(max: usize) -> Self {
        Self { max, seen: HashSet::new(), other: Arc::from(OTHER) }
    }

    /// The value itself when it is one of the first, else [`OTHER`].
    pub fn admit(&mut self, value: &Arc<str>) -> Arc<str> {
        if let Some(seen) = self.seen.get(value) {
            return Arc::clone(seen);
        }
        if self.seen.len() >= self.max {
            return self.other();
        }
        self.seen.insert(Arc::clone(value));
        Arc::clone(value)
    }

    /// [`OTHER`].
    pub fn other(&self) -> Arc<str> {
        Arc::clone(&self.other)
    }
}
