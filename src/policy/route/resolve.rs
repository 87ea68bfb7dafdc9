//! What a model string means: `auto`, an alias, a canonical name, or `provider/name`.

use std::sync::Arc;

use super::candidates::{check, forbidden, price_of};
use super::refusal::no_credentials;
use super::score;
use super::{AliasRule, Ask, Now, Plan, Router, Target, Upstream};
use crate::catalog::Offer;
use crate::chat::Routing;
use crate::error::Error;

/// Longest model string, bytes; also the most that an error message repeats.
const MODEL_BYTES_MAX: usize = 256;

impl Router {
    /// Resolves one model string.
    pub(super) fn resolve(&self, asked: &str, ask: &Ask, now: &Now<'_>) -> Result<Plan, Error> {
        if asked.is_empty() || asked.len() > MODEL_BYTES_MAX || asked.chars().any(char::is_control) {
            return Err(self.not_found(asked));
        }
        if asked == "auto" {
            return self.automatic(ask, now).map(unpinned);
        }
        if ask.free_only {
            return Err(Error::invalid(
                "`free_models_only` works with automatic routing: send it with the model `auto`.",
                "free_models_only",
            ));
        }
        match self.aliases.get(asked) {
            Some(targets) => {
                let rule = self.alias_rules.get(asked).copied().unwrap_or_default();
                let targets = self.alias(asked, targets, rule, ask, now)?;
                Ok(Plan { hedge: rule.hedge, ..unpinned(targets) })
            }
            None => self.named(asked, ask, ask.routing.unwrap_or(self.tuning.mode), now),
        }
    }

    /// A canonical name or `provider/name`.
    fn named(&self, asked: &str, ask: &Ask, mode: Routing, now: &Now<'_>) -> Result<Plan, Error> {
        if let Some(model) = self.catalog.model(asked) {
            return self.canonical(model, ask, mode, now).map(unpinned);
        }
        let Some((provider, name)) = asked.split_once('/') else { return Err(self.not_found(asked)) };
        if let Some(upstream) = self.upstreams.iter().find(|upstream| &*upstream.id == provider) {
            let targets = vec![self.pinned(upstream, name, asked, ask, now)?];
            return Ok(Plan { targets, requested_provider: Some(Arc::clone(&upstream.id)), hedge: None });
        }
        let Some(env) = self.hints.get(provider) else { return Err(self.not_found(asked)) };
        let offer = self.catalog.offer(provider, name);
        if name.is_empty() || (offer.is_none() && self.strict) {
            return Err(self.not_found(asked));
        }
        if !(now.allowed)(offer.map_or(name, |offer| &offer.model), provider) {
            return Err(forbidden(asked));
        }
        Err(no_credentials(asked, env))
    }

    /// A target at one provider, and nowhere else. A retirement day does not bar it: the caller named the provider,
    /// whose own answer has the last word.
    fn pinned(
        &self,
        upstream: &Upstream,
        name: &str,
        asked: &str,
        ask: &Ask,
        now: &Now<'_>,
    ) -> Result<Target, Error> {
        let offer = self.offer_at(&upstream.catalog, name, ask, now);
        if name.is_empty() || (offer.is_none() && self.strict) {
            return Err(self.not_found(asked));
        }
        let model: Arc<str> = offer.map_or_else(|| Arc::from(name), |offer| Arc::clone(&offer.model));
        if !(now.allowed)(&model, &upstream.id) {
            return Err(forbidden(asked));
        }
        if !upstream.credentialed {
            return Err(no_credentials(asked, &upstream.env));
        }
        if let Some(offer) = offer {
            check(offer, ask)?;
        }
        let asked_for = offer.map_or_else(|| Arc::from(name), |offer| Arc::clone(&offer.upstream));
        let account = &upstream.account;
        let target = Target {
            provider: Arc::clone(&upstream.id),
            model,
            health: if offer.is_some() { account.target(&asked_for) } else { account.stranger(&asked_for) },
            upstream: asked_for,
            offer: offer.cloned(),
            // There is nobody else to ask: only a hard ejection bars it.
            ignore_soft: true,
        };
        if let Some(notes) = now.notes {
            notes.pinned(&target, upstream, now);
        }
        Ok(target)
    }

    /// The offer that `name` means at a provider: the one of that very name; else, of the offers that a canonical
    /// name joins, the cheapest that can take the request.
    fn offer_at(&self, provider: &str, name: &str, ask: &Ask, now: &Now<'_>) -> Option<&Arc<Offer>> {
        let named = self.catalog.offer(provider, name)?;
        if named.upstream.eq_ignore_ascii_case(name) {
            return Some(named);
        }
        let model = self.catalog.model(&named.model)?;
        let offers = model.offers.iter().filter(|offer| *offer.provider == *provider);
        offers.min_by_key(|offer| (check(offer, ask).is_err(), now.is_over(offer), price_of(offer)))
    }

    /// An alias: the weights choose who comes first among the targets that can be used, the others follow in their
    /// order. A weight of 0 makes a target one that is never first while another is there.
    fn alias(
        &self,
        name: &str,
        list: &[super::Weighted],
        rule: AliasRule,
        ask: &Ask,
        now: &Now<'_>,
    ) -> Result<Vec<Target>, Error> {
        let mode = ask.routing.or(rule.routing).unwrap_or(self.tuning.mode);
        let mut usable = Vec::new();
        let mut refusal: Option<Error> = None;
        for (model, weight) in list {
            match self.named(model, ask, mode, now) {
                Ok(plan) => usable.push((model, u64::from(*weight), plan.targets)),
                Err(error) => {
                    if refusal.as_ref().is_none_or(|told| telling(&error) > telling(told)) {
                        refusal = Some(error);
                    }
                }
            }
        }
        if usable.is_empty() {
            return Err(refusal.unwrap_or_else(|| self.not_found(name)));
        }
        let first = match ask.session {
            Some(session) => kept(session, &usable, now),
            None => drawn(usable.iter().map(|(_, weight, _)| *weight), now.random),
        };
        let (_, _, mut targets) = usable.remove(first);
        targets.extend(usable.into_iter().flat_map(|(_, _, targets)| targets));
        if !ask.provider_order.is_empty() {
            targets.sort_by_key(|target| ask.preference(&target.provider));
        }
        score::ejected_last(&mut targets, now);
        Ok(targets)
    }
}

/// The place that a session keeps among the targets of an alias, by their weights, passing over what is ejected.
fn kept(session: u64, usable: &[(&String, u64, Vec<Target>)], now: &Now<'_>) -> usize {
    let place = |(at, (model, weight, targets)): (usize, &(&String, u64, Vec<Target>))| {
        let well = targets.first().is_some_and(|target| !score::is_out(target, now));
        (at, well, score::weighted_rendezvous(session, model, *weight))
    };
    let better = |best: (usize, bool, f64), one: (usize, bool, f64)| {
        if (one.1, one.2) > (best.1, best.2) { one } else { best }
    };
    usable.iter().enumerate().map(place).reduce(better).map_or(0, |(at, _, _)| at)
}

/// The place that a random number falls on, each being as likely as its weight says; 0 when nothing weighs.
fn drawn(weights: impl Iterator<Item = u64> + Clone, random: u64) -> usize {
    let mut left = random % weights.clone().sum::<u64>().max(1);
    for (at, weight) in weights.enumerate() {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    0
}

/// Which of two refusals says more: one about the request above one about the gateway, a missing name last.
fn telling(error: &Error) -> u8 {
    match error {
        Error::InvalidRequest { .. } => 4,
        Error::Forbidden(_) => 3,
        Error::NoCredentials(_) => 2,
        Error::ModelRetired(_) => 1,
        _ => 0,
    }
}

impl Router {
    /// 404, with a near miss where there is one.
    pub fn not_found(&self, asked: &str) -> Error {
        let suggestion = (asked.len() <= MODEL_BYTES_MAX).then(|| self.near_miss(asked)).flatten();
        let mut shown = String::new();
        for char in asked.chars().filter(|char| !char.is_control()) {
            if shown.len() + char.len_utf8() > MODEL_BYTES_MAX {
                break;
            }
            shown.push(char);
        }
        Error::ModelNotFound { model: shown, suggestion }
    }

    /// A name that exists and is close to what was asked.
    fn near_miss(&self, asked: &str) -> Option<String> {
        let close = |name: &str, asked: &str, edits: usize| {
            name != asked
                && name.len().abs_diff(asked.len()) <= edits
                && strsim::damerau_levenshtein(&name.to_lowercase(), &asked.to_lowercase()) <= edits
        };
        if let Some(alias) = self.aliases.keys().find(|alias| close(alias, asked, 1)) {
            return Some(alias.clone());
        }
        let Some((provider, name)) = asked.split_once('/') else {
            return self.catalog.nearest(asked).map(str::to_owned);
        };
        if let Some(known) = self.upstreams.iter().find(|one| &*one.id == provider) {
            // Only under `catalog.strict` is a name at a known provider unknown.
            let near = self.catalog.nearest(name)?;
            return self.catalog.offer(&known.catalog, near).map(|_| format!("{provider}/{near}"));
        }
        let near = self.upstreams.iter().find(|one| close(&one.id, provider, 2));
        match near {
            Some(near) => Some(format!("{}/{name}", near.id)),
            None => self.catalog.nearest(name).map(str::to_owned),
        }
    }
}

fn unpinned(targets: Vec<Target>) -> Plan {
    Plan { targets, requested_provider: None, hedge: None }
}
