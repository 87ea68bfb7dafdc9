//! Candidates for a name that several providers serve, and for `auto`: filtered, then cheapest first.

use std::sync::Arc;

use super::resolve::{forbidden, no_credentials};
use super::{Ask, Now, Router, Target, Upstream};
use crate::catalog::{Model, Offer};
use crate::error::Error;
use crate::money::Usd;

/// Checks an offer against what is asked: capabilities and output size.
///
/// # Errors
/// 400 naming what is lacking.
pub(super) fn check(offer: &Offer, ask: &Ask) -> Result<(), Error> {
    if let Some(lacking) = offer.capabilities.lacking(ask.needs).next() {
        let message = format!(
            "The model `{}` at {} does not support {}. Choose another model or leave it out.",
            offer.model,
            offer.provider,
            lacking.name()
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

/// Why candidates fell out; the first that applies to all of them is told.
#[derive(Default)]
struct Refusals {
    check: Option<Error>,
    retired: bool,
    forbidden: bool,
    env: Vec<String>,
}

impl Router {
    /// Every provider of one model that can take the request.
    pub(super) fn canonical(
        &self,
        model: &Arc<Model>,
        ask: &Ask,
        now: &Now<'_>,
    ) -> Result<Vec<Target>, Error> {
        let mut refusals = Refusals::default();
        let mut found = Vec::new();
        for offer in &model.offers {
            self.consider(offer, ask, now, &mut refusals, &mut found);
        }
        if !found.is_empty() {
            return Ok(order(found, ask));
        }
        Err(match refusals {
            Refusals { check: Some(error), .. } => error,
            Refusals { forbidden: true, .. } => forbidden(&model.id),
            Refusals { retired: true, env, .. } if env.is_empty() => {
                Error::ModelRetired(format!("The model `{}` has been retired by every provider.", model.id))
            }
            Refusals { env, .. } => no_credentials(&model.id, &env),
        })
    }

    /// The best of the auto pool.
    pub(super) fn automatic(&self, ask: &Ask, now: &Now<'_>) -> Result<Vec<Target>, Error> {
        let mut refusals = Refusals::default();
        let mut found = Vec::new();
        let mut consider = |model: &Arc<Model>| {
            for offer in &model.offers {
                if fits(offer, ask) && (!ask.free_only || is_free(offer)) {
                    self.consider(offer, ask, now, &mut refusals, &mut found);
                }
            }
        };
        match &self.auto {
            Some(names) => names.iter().filter_map(|name| self.catalog.model(name)).for_each(&mut consider),
            None => self.catalog.auto_pool().for_each(&mut consider),
        }
        if !found.is_empty() {
            return Ok(order(found, ask));
        }
        Err(match refusals {
            _ if ask.free_only => Error::invalid_code(
                "No free model can take this request.",
                Some("free_models_only"),
                "no_free_model",
            ),
            Refusals { forbidden: true, .. } => forbidden("auto"),
            Refusals { check: Some(error), .. } => error,
            Refusals { env, .. } if !env.is_empty() => no_credentials("auto", &env),
            _ => Error::invalid("No model of the auto pool can take this request; name one.", "model"),
        })
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
        if offer.retires.as_deref().is_some_and(|day| day <= now.today) {
            refusals.retired = true;
            return;
        }
        let configured: Vec<&Upstream> =
            self.upstreams.iter().filter(|upstream| upstream.catalog == offer.provider).collect();
        if !configured.iter().any(|upstream| upstream.credentialed) {
            let env =
                configured.first().map(|upstream| &upstream.env).or_else(|| self.hints.get(&*offer.provider));
            for name in env
                .into_iter()
                .flatten()
                .filter(|name| !refusals.env.contains(name))
                .cloned()
                .collect::<Vec<_>>()
            {
                refusals.env.push(name);
            }
            return;
        }
        if let Err(error) = check(offer, ask) {
            refusals.check.get_or_insert(error);
            return;
        }
        for upstream in configured.into_iter().filter(|upstream| upstream.credentialed) {
            if !(now.allowed)(&offer.model, &upstream.id) {
                refusals.forbidden = true;
                continue;
            }
            found.push(Target {
                provider: Arc::clone(&upstream.id),
                model: Arc::clone(&offer.model),
                upstream: Arc::clone(&offer.upstream),
                offer: Some(Arc::clone(offer)),
            });
        }
    }
}

/// Large enough for the prompt and what shall be written.
fn fits(offer: &Offer, ask: &Ask) -> bool {
    let needed = ask.prompt_estimate + ask.max_output.unwrap_or(0);
    offer.context_window.is_none_or(|window| needed <= window)
}

fn is_free(offer: &Offer) -> bool {
    offer.price.as_ref().is_some_and(|price| price.is_free())
}

/// Preferred providers first, then cheapest first; unknown prices last; otherwise as in the files.
fn order(mut targets: Vec<Target>, ask: &Ask) -> Vec<Target> {
    let price = |target: &Target| -> Usd {
        let price =
            target.offer.as_ref().and_then(|offer| offer.price.as_ref()).and_then(|price| price.blended());
        price.unwrap_or(Usd::from_units(i64::MAX))
    };
    let preference = |target: &Target| {
        ask.provider_order.iter().position(|id| **id == *target.provider).unwrap_or(usize::MAX)
    };
    targets.sort_by_cached_key(|target| (preference(target), price(target)));
    targets
}
