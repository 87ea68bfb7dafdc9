//! What a model string means: `auto`, an alias, a canonical name, or `provider/name`.

use std::sync::Arc;

use super::{Ask, Now, Plan, Router, Target, Upstream};
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
        if let Some(targets) = self.aliases.get(asked) {
            return self.alias(asked, targets, ask, now).map(unpinned);
        }
        if ask.free_only {
            return Err(Error::invalid(
                "`free_models_only` works with automatic routing: send it with the model `auto`.",
                "free_models_only",
            ));
        }
        self.named(asked, ask, now)
    }

    /// A canonical name or `provider/name`.
    fn named(&self, asked: &str, ask: &Ask, now: &Now<'_>) -> Result<Plan, Error> {
        if let Some(model) = self.catalog.model(asked) {
            return self.canonical(&Arc::clone(model), ask, now).map(unpinned);
        }
        let Some((provider, name)) = asked.split_once('/') else { return Err(self.not_found(asked)) };
        if let Some(upstream) = self.upstreams.iter().find(|upstream| &*upstream.id == provider) {
            let targets = vec![self.pinned(upstream, name, asked, ask, now)?];
            return Ok(Plan { targets, requested_provider: Some(Arc::clone(&upstream.id)) });
        }
        match self.hints.get(provider) {
            Some(env) => Err(no_credentials(asked, env)),
            None => Err(self.not_found(asked)),
        }
    }

    /// A target at one provider, and nowhere else.
    fn pinned(
        &self,
        upstream: &Upstream,
        name: &str,
        asked: &str,
        ask: &Ask,
        now: &Now<'_>,
    ) -> Result<Target, Error> {
        let offer = self.catalog.offer(&upstream.catalog, name);
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
            super::candidates::check(offer, ask)?;
        }
        Ok(Target {
            provider: Arc::clone(&upstream.id),
            upstream: offer.map_or_else(|| Arc::from(name), |offer| Arc::clone(&offer.upstream)),
            model,
            offer: offer.cloned(),
        })
    }

    /// An alias: the weights choose who comes first, the others follow in their order.
    fn alias(
        &self,
        name: &str,
        list: &[super::Weighted],
        ask: &Ask,
        now: &Now<'_>,
    ) -> Result<Vec<Target>, Error> {
        let ask = Ask { free_only: false, ..ask.clone() };
        let total: u64 = list.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = now.random % total.max(1);
        let first = list.iter().position(|(_, weight)| match left.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let first = first.unwrap_or(0);
        let order = list
            .get(first)
            .into_iter()
            .chain(list.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, one)| one));
        let mut targets = Vec::new();
        let mut refusal = None;
        for (model, _) in order {
            match self.named(model, &ask, now) {
                Ok(plan) => targets.extend(plan.targets),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        if targets.is_empty() {
            return Err(refusal.unwrap_or_else(|| self.not_found(name)));
        }
        Ok(targets)
    }

    /// 404, with a near miss where there is one.
    pub(super) fn not_found(&self, asked: &str) -> Error {
        let suggestion = (asked.len() <= MODEL_BYTES_MAX).then(|| self.near_miss(asked)).flatten();
        let shown: String = asked.chars().filter(|c| !c.is_control()).take(MODEL_BYTES_MAX).collect();
        Error::ModelNotFound { model: shown, suggestion }
    }

    /// A name that exists and is close to what was asked.
    fn near_miss(&self, asked: &str) -> Option<String> {
        let alias = self.aliases.keys().find(|alias| strsim::damerau_levenshtein(alias, asked) <= 1);
        if let Some(alias) = alias {
            return Some(alias.clone());
        }
        match asked.split_once('/') {
            Some((provider, name)) => {
                let near =
                    self.upstreams.iter().find(|one| strsim::damerau_levenshtein(&one.id, provider) <= 2)?;
                (&*near.id != provider).then(|| format!("{}/{name}", near.id))
            }
            None => self.catalog.nearest(asked).map(str::to_owned),
        }
    }
}

fn unpinned(targets: Vec<Target>) -> Plan {
    Plan { targets, requested_provider: None }
}

/// 403.
pub(super) fn forbidden(asked: &str) -> Error {
    Error::Forbidden(format!("Your API key may not use the model `{asked}`. Ask your operator to allow it."))
}

/// 503 naming what would mend it; names only.
pub(super) fn no_credentials(asked: &str, env: &[String]) -> Error {
    let mend = match env {
        [] => "Its provider has no credential: set `api_key` in the configuration.".to_owned(),
        names => format!("No provider of it has a credential: set {} for the gateway.", names.join(" or ")),
    };
    Error::NoCredentials(format!("The model `{asked}` is known but cannot be reached. {mend}"))
}
