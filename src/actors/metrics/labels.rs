//! Label values under a cap: what makes every label bounded by construction.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// What a value becomes that may not label a series.
pub const OTHER: &str = "other";
/// Models that label series at most, over the life of the process.
pub const MODELS_MAX: usize = 1_000;
/// Pairs of a provider and a model that label series at most; the models of further ones are [`OTHER`].
pub const PAIRS_MAX: usize = 2_000;
/// Keys that label series at most, over the life of the process.
pub const KEYS_MAX: usize = 1_000;
/// Budgets, and limits, that are told of at most: those that are used most.
pub const TOLD_MAX: usize = 100;
/// Longest label value that an operator made up, bytes; a longer one is cut and ends with an ellipsis.
pub const TEXT_MAX: usize = 128;
/// Providers that label series at most, over the life of the process.
pub const PROVIDERS_MAX: usize = 200;

/// A value that is not too long.
pub fn short(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_MAX {
        return Cow::Borrowed(text);
    }
    let cut = text.get(..text.floor_char_boundary(TEXT_MAX - ELLIPSIS.len_utf8())).unwrap_or("");
    Cow::Owned(format!("{cut}{ELLIPSIS}"))
}

/// What a value ends with that was cut.
const ELLIPSIS: char = '…';

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
