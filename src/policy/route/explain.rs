//! Why a plan is as it is: the same decision, with everything that was considered noted on the way.

use std::cell::RefCell;
use std::sync::Arc;

use super::score::{Candidate, is_out};
use super::{Ask, Now, Plan, Router, Target, Upstream};
use crate::catalog::Offer;
use crate::error::Error;
use crate::money::Usd;
use crate::policy::admission::Load;
use crate::policy::health::Reading;

/// Candidates that are noted at most.
const NOTES_MAX: usize = 1000;

/// One target that was considered.
#[derive(Clone, Debug)]
pub struct Considered {
    /// Provider id: as configured, or the catalogue's where none is.
    pub provider: Arc<str>,
    /// Canonical model.
    pub model: Arc<str>,
    /// The name sent upstream.
    pub upstream: Arc<str>,
    /// Why it cannot be asked, or what its place depends on.
    pub verdict: Verdict,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is no candidate, for this reason.
    Refused(String),
    /// It is one.
    Candidate(Box<Figures>),
}

/// What the place of a candidate depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Lower is better, among those of the same list; `None` where there is nobody to compare with.
    pub score: Option<f64>,
    /// The blended price of a token; `None` when it is not known.
    pub price: Option<Usd>,
    /// It is not asked unless nobody else is left.
    pub ejected: bool,
    /// Large enough for the prompt, as far as is known.
    pub fits: bool,
    /// How it has been doing.
    pub reading: Reading,
    /// How full its provider is.
    pub load: Load,
    /// Credentials that can be had now, of how many.
    pub credentials: (usize, usize),
}

/// What a decision notes on its way.
#[derive(Debug, Default)]
pub struct Notes(RefCell<Vec<Considered>>);

impl Notes {
    fn push(&self, considered: Considered) {
        let mut notes = self.0.borrow_mut();
        if notes.len() < NOTES_MAX {
            notes.push(considered);
        }
    }

    /// An offer that is no candidate at this provider.
    pub(super) fn refused(&self, provider: &Arc<str>, offer: &Offer, why: impl Into<String>) {
        self.push(Considered {
            provider: Arc::clone(provider),
            model: Arc::clone(&offer.model),
            upstream: Arc::clone(&offer.upstream),
            verdict: Verdict::Refused(why.into()),
        });
    }

    /// A candidate that fell out.
    pub(super) fn dropped(&self, one: &Candidate, why: &str) {
        if let Some(offer) = &one.target.offer {
            self.refused(&one.target.provider, offer, why);
        }
    }

    /// A candidate.
    pub(super) fn candidate(&self, one: &Candidate, score: f64, ejected: bool) {
        self.push(Considered {
            provider: Arc::clone(&one.target.provider),
            model: Arc::clone(&one.target.model),
            upstream: Arc::clone(&one.target.upstream),
            verdict: Verdict::Candidate(Box::new(Figures {
                score: Some(score),
                price: price(&one.target),
                ejected,
                fits: one.fits,
                reading: one.reading,
                load: one.load,
                credentials: one.credentials,
            })),
        });
    }

    /// A target that the caller named.
    pub(super) fn pinned(&self, target: &Target, upstream: &Upstream, now: &Now<'_>) {
        let reading = target.health.reading(now.at);
        self.push(Considered {
            provider: Arc::clone(&target.provider),
            model: Arc::clone(&target.model),
            upstream: Arc::clone(&target.upstream),
            verdict: Verdict::Candidate(Box::new(Figures {
                score: None,
                price: price(target),
                ejected: is_out(target, now),
                fits: true,
                reading,
                load: upstream.account.gate.load(&upstream.rule),
                credentials: upstream.account.usable(&target.upstream, now.at),
            })),
        });
    }
}

/// The blended price of a token.
fn price(target: &Target) -> Option<Usd> {
    target.offer.as_ref().and_then(|offer| offer.price.as_ref()?.blended())
}

/// A decision and why.
#[derive(Debug)]
pub struct Explanation {
    /// What [`Router::plan`] says.
    pub plan: Result<Plan, Error>,
    /// Everything that was considered, in the order in which it was.
    pub considered: Vec<Considered>,
}

impl Router {
    /// Decides as [`Router::plan`] does, and says why.
    pub fn explain(&self, ask: &Ask, now: &Now<'_>) -> Explanation {
        let notes = Notes::default();
        let plan = self.plan(ask, &Now { notes: Some(&notes), ..*now });
        Explanation { plan, considered: notes.0.into_inner() }
    }
}
