//! Candidates for a name that several providers serve, and for `auto`: filtered, then cheapest first.

use std::sync::Arc;

use super::refusal::Refusals;
use super::{Ask, Now, Router, Target, Upstream};
use crate::catalog::{Capability, Model, Offer};
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
    pub(super) fn canonical(&self, model: &Model, ask: &Ask, now: &Now<'_>) -> Result<Vec<Target>, Error> {
        let mut refusals = Refusals::default();
        let mut found = Vec::new();
        for offer in &model.offers {
            self.consider(offer, ask, now, &mut refusals, &mut found);
        }
        if found.is_empty() { Err(refusals.of_model(&model.id)) } else { Ok(order(found, ask)) }
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
        let free = |target: &Target| target.offer.as_ref().is_some_and(|offer| is_free(offer));
        found.retain(|target| !ask.free_only || free(target));
        // A named model may be tried although it looks too small, because the estimate is rough; here others are at hand.
        let before = found.len();
        found.retain(|target| fits(target, ask));
        refusals.too_large = found.len() < before;
        if found.is_empty() { Err(refusals.of_auto(ask)) } else { Ok(order(found, ask)) }
    }

    /// Adds the targets of one offer, or notes why there are none.
    fn consider(
        &self,
        offer: &Arc<Offer>,
        ask: &Ask,
        now: &Now<'_>,
        refusals: &mut Refusals,
        found: &mut Vec<Target>,
    ) {
        if now.is_over(offer) {
            refusals.retired = true;
            return;
        }
        let configured: Vec<&Upstream> =
            self.upstreams.iter().filter(|upstream| upstream.catalog == offer.provider).collect();
        if configured.is_empty() {
            if (now.allowed)(&offer.model, &offer.provider) {
                let env = self.hints.get(&*offer.provider).map_or(&[][..], Vec::as_slice);
                refusals.unreachable(&offer.provider, env);
            } else {
                refusals.forbidden = true;
            }
        }
        for upstream in configured {
            if !(now.allowed)(&offer.model, &upstream.id) {
                refusals.forbidden = true;
            } else if !upstream.credentialed {
                refusals.unreachable(&upstream.id, &upstream.env);
            } else if let Err(error) = check(offer, ask) {
                refusals.unfit.get_or_insert(error);
            } else {
                found.push(Target {
                    provider: Arc::clone(&upstream.id),
                    model: Arc::clone(&offer.model),
                    upstream: Arc::clone(&offer.upstream),
                    offer: Some(Arc::clone(offer)),
                    health: upstream.account.target(&offer.upstream),
                    spared: false,
                });
            }
        }
    }
}

/// Large enough for the prompt and what shall be written; unknown sizes are.
fn fits(target: &Target, ask: &Ask) -> bool {
    let needed = ask.prompt_estimate.saturating_add(ask.max_output.unwrap_or(0));
    target.offer.as_ref().and_then(|offer| offer.context_window).is_none_or(|window| needed <= window)
}

fn is_free(offer: &Offer) -> bool {
    offer.price.as_ref().is_some_and(|price| price.is_free())
}

/// The blended price; what is unknown counts as dearer than anything.
pub(super) fn price_of(offer: &Offer) -> Usd {
    offer.price.as_ref().and_then(|price| price.blended()).unwrap_or(Usd::from_units(i64::MAX))
}

/// Those large enough first, then preferred providers, then cheapest; unknown prices last; otherwise as in the files.
/// A provider that offers a model under several names appears with its first one only: the others share its fate.
fn order(mut targets: Vec<Target>, ask: &Ask) -> Vec<Target> {
    let price = |target: &Target| target.offer.as_ref().map_or(Usd::ZERO, |offer| price_of(offer));
    targets
        .sort_by_cached_key(|target| (!fits(target, ask), ask.preference(&target.provider), price(target)));
    let mut once: Vec<Target> = Vec::with_capacity(targets.len());
    for target in targets {
        if !once.iter().any(|other| other.provider == target.provider && other.model == target.model) {
            once.push(target);
        }
    }
    once
}
