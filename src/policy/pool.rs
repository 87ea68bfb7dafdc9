//! The credentials of one provider: which of them an attempt takes, and which must rest.
//!
//! One [`Pool`] per provider, shared by all cells. A credential that the provider limits rests for the model that was
//! asked; one that it refuses is out until a probe goes well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::health::Observation;
use super::quota::QuotaPermit;
use crate::config::Provider;

/// What an attempt asks of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name sent upstream.
    pub model: &'a str,
    /// Tokens that it may use, prompt and completion.
    pub tokens: u64,
    /// The session it belongs to: the same one gets the same credential, while that is well.
    pub session: Option<u64>,
    /// A random number, for weights.
    pub random: u64,
}

/// The credential of an attempt, and its place under that credential's own limits.
#[derive(Debug)]
pub struct Chosen {
    /// Its place in the provider's list.
    pub index: usize,
    /// It is out, and this attempt finds out whether it still is.
    pub probe: bool,
    /// `None` where it has no limits.
    pub permit: Option<QuotaPermit>,
}

/// Why no credential can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// All of them rest or are at their limits; the first is back then.
    Limited(Duration),
    /// All of them are refused by the provider; the next probe is then.
    Refused(Duration),
}

/// The credentials of one provider, over all cells.
#[derive(Debug, Default)]
pub struct Pool {}

impl Pool {
    /// Those of a row.
    pub fn new(_provider: &Provider, _origin: Instant) -> Self {
        Self {}
    }

    /// After a reload: credentials that are still there keep what is known of them.
    #[must_use]
    pub fn reloaded(self: &Arc<Self>, provider: &Provider, origin: Instant) -> Self {
        Self::new(provider, origin)
    }

    /// Takes a credential.
    ///
    /// # Errors
    /// None can be had now.
    pub fn take(&self, _wanted: &Wanted<'_>, _now: Instant) -> Result<Chosen, Unavailable> {
        Ok(Chosen { index: 0, probe: false, permit: None })
    }

    /// Takes what an attempt says of its credential. True when that is news an operator must hear.
    pub fn observe(&self, _index: usize, _model: &str, _seen: &Observation, _now: Instant) -> bool {
        false
    }

    /// Credentials that can be had now, of how many.
    pub fn usable(&self, _model: &str, _now: Instant) -> (usize, usize) {
        (1, 1)
    }
}
