//! Candidates for a name that several providers serve, and for `auto`: filtered, then the best first.

use std::sync::Arc;

use super::refusal::Refusals;
use super::score::{self, Candidate};
use super::{Ask, Now, Router, Target, Upstream};
use crate::catalog::{Capability, Model, Offer};
use crate::chat::Routing;
use crate::error::Error;
use crate::money::Usd;

/// Checks an offer against what is asked: capabilities and output size.
///
/// # Errors
/// 400 naming what is lacking.
pub(super) fn check(offer: &Offer, ask: &Ask) -> Result<(), Error> {
    let lacking: Vec<&str> = offer.capabilities.lacking(ask.needs).map(Capability::name).collect();
    if !lacking.is_empty() {
        let message = format!(
            "The model `{}` at {} does not support {}. Choose another model or leave it out.",
            offer.model,
            offer.provider,
            lacking.join(", ")
        );
        return Err(Error::invalid_code(message, Some("model"), "unsupported_capability"));
    }
    match (ask.max_output, offer.max_output) {
        (Some(asked), Some(most)) if asked > most => Err(Error::invalid(
            format!(
                "max_tokens is too large: {asked}. The model `{}` writes at most {most} tokens.",
                offer.model
            ),
            "max_tokens",
        )),
        _ => Ok(()),
    }
}

/// 403.
pub(super) fn forbidden(asked: &str) -> Error {
    Error::Forbidden(format!("Your API key may not use the model `{asked}`. Ask your operator to allow it."))
}

impl Router {
    /// Every provider of one model that can take the request, each once.
    pub(super) fn canonical(
        &self,
        model: &Model,
        ask: &Ask,
        mode: Routing,
        now: &Now<'_>,
    ) -> Result<Vec<Target>, Error> {
        let mut refusals = Refusals::default();
        let mut found = Vec::new();
        for offer in &model.offers {
            self.consider(offer, ask, now, &mut refusals, &mut found);
        }
        if found.is_empty() {
            Err(refusals.of_model(&model.id))
        } else {
            Ok(self.order(found, ask, mode, now))
        }
    }

    /// The best of the auto pool.
    pub(super) fn automatic(&self, ask: &Ask, now: &Now<'_>) -> Result<Vec<Target>, Error> {
        let mut refusals = Refusals::default();
        let mut found = Vec::new();
        let mut consider = |model: &Arc<Model>| {
            for offer in &model.offers {
                self.consider(offer, ask, now, &mut refusals, &mut found);
            }
        };
        match &self.auto {
            Some(names) => names.iter().filter_map(|name| self.catalog.model(name)).for_each(&mut consider),
            None => self.catalog.auto_pool().for_each(&mut consider),
        }
        let free = |one: &Candidate| one.target.offer.as_ref().is_some_and(|offer| is_free(offer));
        let kept = |one: &Candidate, keep: bool, why: &str| {
            if let Some(notes) = now.notes.filter(|_| !keep) {
                notes.dropped(one, why);
            }
            keep
        };
        found.retain(|one| kept(one, !ask.free_only || free(one), "it is not free"));
        // A named model may be tried although it looks too small, because the estimate is rough; here others are at hand.
        let before = found.len();
        found.retain(|one| kept(one, one.fits, "it has no room for this prompt and the output asked for"));
        refusals.too_large = found.len() < before;
        if found.is_empty() {
            return Err(refusals.of_auto(ask));
        }
        Ok(self.order(found, ask, ask.routing.unwrap_or(self.tuning.mode), now))
    }

    /// Adds the targets of one offer, or notes why there are none.
    fn consider(
        &self,
        offer: &Arc<Offer>,
        ask: &Ask,
        now: &Now<'_>,
        refusals: &mut Refusals,
        found: &mut Vec<Candidate>,
    ) {
        let note = |provider: &Arc<str>, why: &str| {
            if let Some(notes) = now.notes {
                notes.refused(provider, offer, why);
            }
        };
        if now.is_over(offer) {
            refusals.retired = true;
            note(&offer.provider, "retired by its provider");
            return;
        }
        let configured = self.by_catalog.get(&offer.provider).map_or(&[][..], Vec::as_slice);
        if configured.is_empty() {
            if (now.allowed)(&offer.model, &offer.provider) {
                note(&offer.provider, "no such provider is configured");
                let env = self.hints.get(&*offer.provider).map_or(&[][..], Vec::as_slice);
                refusals.unreachable(&offer.provider, env);
            } else {
                note(&offer.provider, "the key may not use it");
                refusals.forbidden = true;
            }
        }
        for upstream in configured.iter().filter_map(|at| self.upstreams.get(*at)) {
            if !(now.allowed)(&offer.model, &upstream.id) {
                note(&upstream.id, "the key may not use it");
                refusals.forbidden = true;
            } else if !upstream.credentialed {
                note(&upstream.id, "its provider has no credential");
                refusals.unreachable(&upstream.id, &upstream.env);
            } else if let Err(error) = check(offer, ask) {
                note(&upstream.id, &error.to_string());
                refusals.unfit.get_or_insert(error);
            } else {
                found.push(candidate(upstream, offer, ask, now));
            }
        }
    }

    fn order(&self, found: Vec<Candidate>, ask: &Ask, mode: Routing, now: &Now<'_>) -> Vec<Target> {
        score::order(found, ask.session, mode, self.tuning.exploration, now)
    }
}

/// An offer at a provider, with what its place depends on.
fn candidate(upstream: &Upstream, offer: &Arc<Offer>, ask: &Ask, now: &Now<'_>) -> Candidate {
    let health = upstream.account.target(&offer.upstream);
    Candidate {
        price: price_of(offer).units().max(1) as f64,
        fits: fits(offer, ask),
        preference: ask.preference(&upstream.id),
        reading: health.reading(now.at),
        load: upstream.account.gate.load(&upstream.rule),
        credentials: upstream.account.usable(&offer.upstream, now.at),
        target: Target {
            provider: Arc::clone(&upstream.id),
            model: Arc::clone(&offer.model),
            upstream: Arc::clone(&offer.upstream),
            offer: Some(Arc::clone(offer)),
            health,
            ignore_soft: false,
        },
    }
}

/// Large enough for the prompt and what shall be written; unknown sizes are.
fn fits(offer: &Offer, ask: &Ask) -> bool {
    let needed = ask.prompt_estimate.saturating_add(ask.max_output.unwrap_or(0));
    offer.context_window.is_none_or(|window| needed <= window)
}

fn is_free(offer: &Offer) -> bool {
    offer.price.as_ref().is_some_and(|price| price.is_free())
}

/// The blended price; what is unknown counts as dearer than anything.
pub(super) fn price_of(offer: &Offer) -> Usd {
    offer.price.as_ref().and_then(|price| price.blended()).unwrap_or(Usd::from_units(i64::MAX))
}
