//! What a call's attempts tell of it, gathered while it lasts: for its log line and its span.
//!
//! A lock, because a call is shared; nobody waits for it, since all of a call happens on one thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::chat::Usage;
use crate::money::Usd;
use crate::policy::route::Target;
use crate::receipt::{AnsweredBy, Failover, Told};

/// Failovers of one call that are kept at most; more than anybody configures targets.
const FAILOVERS_MAX: usize = 32;

/// What was told so far.
#[derive(Debug, Default)]
pub struct Telling(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    by: Option<AnsweredBy>,
    /// `by` gave the answer, and was not only asked.
    answered: bool,
    booked: bool,
    prompt: u64,
    completion: u64,
    /// Of one attempt the tokens are not known yet.
    uncounted: bool,
    units: i64,
    /// Of one attempt it is not known what it costs.
    unpriced: bool,
    estimated: bool,
    failovers: Vec<Failover>,
}

impl Telling {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer comes from this target.
    pub fn answered_by(&self, target: &Target) {
        let mut sums = self.sums();
        (sums.by, sums.answered) = (Some(answering(target)), true);
    }

    /// An attempt was booked: its tokens, and what the caller pays for it.
    pub fn booked(&self, target: &Target, usage: Option<&Usage>, charged: Option<Usd>, estimated: bool) {
        let mut sums = self.sums();
        if !sums.answered {
            sums.by = Some(answering(target));
        }
        sums.booked = true;
        sums.estimated |= estimated;
        match usage {
            Some(usage) => {
                sums.prompt = sums.prompt.saturating_add(usage.prompt);
                sums.completion = sums.completion.saturating_add(usage.completion);
            }
            None => sums.uncounted = true,
        }
        match charged {
            Some(charged) => sums.units = sums.units.saturating_add(charged.units()),
            None => sums.unpriced = true,
        }
    }

    /// The call goes on to another provider.
    pub fn failed_over(&self, from: &Arc<str>, to: &Arc<str>, why: &'static str) {
        let mut sums = self.sums();
        if sums.failovers.len() < FAILOVERS_MAX {
            sums.failovers.push(Failover {
                at: Instant::now(),
                from: Arc::clone(from),
                to: Arc::clone(to),
                why,
            });
        }
    }

    /// All of it, for whoever ends the call.
    pub fn take(&self) -> Told {
        let mut sums = self.sums();
        Told {
            by: sums.by.take(),
            tokens: (sums.booked && !sums.uncounted).then_some((sums.prompt, sums.completion)),
            charged: (sums.booked && !sums.unpriced).then(|| Usd::from_units(sums.units)),
            estimated: sums.estimated,
            failovers: std::mem::take(&mut sums.failovers),
        }
    }
}

fn answering(target: &Target) -> AnsweredBy {
    AnsweredBy {
        provider: Arc::clone(&target.provider),
        model: Arc::clone(&target.model),
        known_model: target.offer.is_some(),
    }
}
