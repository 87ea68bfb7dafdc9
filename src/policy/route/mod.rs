//! Routing: a model string and what a request needs become an ordered list of targets, or a refusal.
//!
//! A pure decision over the catalogue, the configured providers and how they do. Invariants: a pinned model never
//! becomes another one; what a key may not use is never a target; targets are unique and at most [`TARGETS_MAX`].

mod candidates;
mod explain;
mod refusal;
mod resolve;
mod score;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use explain::{Considered, Explanation, Figures, Notes, Verdict};
pub use score::{Tuning, session_hash};

use super::account::Account;
use super::health::TargetHealth;
use crate::catalog::{Capabilities, Capability, Catalog, Offer};
use crate::chat::{ChatRequest, Facts, Routing, Uses};
use crate::config::AdmissionRule;
use crate::error::Error;

/// Targets of one plan at most: more attempts would only make an outage worse.
pub const TARGETS_MAX: usize = 16;

/// What routing needs to know of a configured provider.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Id, as in `provider/model`.
    pub id: Arc<str>,
    /// Provider id under which the catalogue lists its offers.
    pub catalog: Arc<str>,
    /// Requests to it can be authenticated.
    pub credentialed: bool,
    /// Environment variables that usually hold its credential.
    pub env: Vec<String>,
    /// What all cells share of it.
    pub account: Arc<Account>,
    /// The rule of its gate.
    pub rule: AdmissionRule,
}

/// One model string of an alias, with its weight.
pub type Weighted = (String, u32);

/// The routing table: everything a plan depends on but the request.
#[derive(Clone, Debug)]
pub struct Router {
    catalog: Arc<Catalog>,
    upstreams: Vec<Upstream>,
    /// Places among them by the provider whose offers they serve: every offer of every call looks there.
    by_catalog: HashMap<Arc<str>, Vec<usize>>,
    aliases: BTreeMap<String, Vec<Weighted>>,
    /// Canonical names that replace the catalogue's auto pool.
    auto: Option<Vec<String>>,
    /// Catalogue providers without configuration -> environment variables that would mend it.
    hints: BTreeMap<String, Vec<String>>,
    /// Names the catalogue does not know are refused.
    strict: bool,
    tuning: Tuning,
    /// What aliases say beside their targets.
    alias_rules: BTreeMap<String, AliasRule>,
}

/// What an alias says beside its targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AliasRule {
    /// What counts most, unless the request says so.
    pub routing: Option<Routing>,
    /// When a second target is asked; `None`: never.
    pub hedge: Option<Hedge>,
}

/// What one call asks of routing.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The model string.
    pub model: String,
    /// Tried in order after `model`'s plan.
    pub fallbacks: Vec<String>,
    /// Capabilities that are needed.
    pub needs: Capabilities,
    /// Output tokens asked for.
    pub max_output: Option<u64>,
    /// Prompt tokens, roughly.
    pub prompt_estimate: u64,
    /// Only models that cost nothing (automatic routing only).
    pub free_only: bool,
    /// Providers to prefer, in order.
    pub provider_order: Vec<String>,
    /// Only the first target.
    pub no_fallback: bool,
    /// What counts most, if the request or its key says so.
    pub routing: Option<Routing>,
    /// The session it belongs to, as a hash: the same one gets the same target, while that is well.
    pub session: Option<u64>,
}

impl Ask {
    /// From a checked request.
    pub fn of(request: &ChatRequest) -> Self {
        Self {
            model: request.model.clone(),
            fallbacks: request.fallbacks.clone(),
            needs: needs(request.uses),
            max_output: request.max_output,
            prompt_estimate: request.prompt_estimate,
            free_only: request.free_only,
            routing: request.routing,
            ..Self::default()
        }
    }

    /// Where a provider stands in the caller's order; last when it is not named.
    fn preference(&self, provider: &str) -> usize {
        self.provider_order.iter().position(|id| id == provider).unwrap_or(usize::MAX)
    }
}

/// The capabilities behind what a request uses.
fn needs(uses: Uses) -> Capabilities {
    [
        (uses.tools, Capability::Tools),
        (uses.images, Capability::Vision),
        (uses.audio, Capability::AudioInput),
        (uses.files, Capability::File),
        (uses.json_schema, Capability::JsonSchema),
        (uses.reasoning, Capability::Reasoning),
    ]
    .into_iter()
    .filter(|(used, _)| *used)
    .fold(Capabilities::NONE, |all, (_, capability)| all.with(capability))
}

/// Circumstances of a plan.
#[derive(Clone, Copy)]
pub struct Now<'a> {
    /// Today, `YYYY-MM-DD` (UTC).
    pub today: &'a str,
    /// The moment, for health.
    pub at: Instant,
    /// A random number, for weights.
    pub random: u64,
    /// May the caller use this model at this provider?
    pub allowed: &'a dyn Fn(&str, &str) -> bool,
    /// Takes down what is considered.
    pub notes: Option<&'a Notes>,
}

impl Now<'_> {
    /// True from the day on which the provider retires it.
    fn is_over(&self, offer: &Offer) -> bool {
        offer.retires.as_deref().is_some_and(|day| day <= self.today)
    }
}

/// One provider and the model to ask it for.
#[derive(Clone, Debug)]
pub struct Target {
    /// Provider id.
    pub provider: Arc<str>,
    /// Canonical model, or the upstream name when the catalogue does not know it.
    pub model: Arc<str>,
    /// The name sent upstream.
    pub upstream: Arc<str>,
    /// What the catalogue knows; `None` for a name it does not know.
    pub offer: Option<Arc<Offer>>,
    /// How it has been doing.
    pub health: Arc<TargetHealth>,
    /// A soft ejection does not bar it: with it, more than half of its peers would be out.
    pub ignore_soft: bool,
}

impl Target {
    /// What is known of the model.
    pub fn facts(&self) -> Facts {
        self.offer.as_ref().map_or_else(Facts::default, |offer| Facts {
            known: true,
            max_output: offer.max_output,
            traits: offer.traits,
        })
    }
}

/// An ordered list of targets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At least one.
    pub targets: Vec<Target>,
    /// The provider prefix of the model string, if it had one.
    pub requested_provider: Option<Arc<str>>,
    /// When a second target is asked beside the first; `None`: never.
    pub hedge: Option<Hedge>,
}

/// When a second target is asked beside the first that has not begun to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// Once the first takes longer than 95 of 100 of its answers did.
    P95,
    /// After this long.
    After(Duration),
}

impl Router {
    /// A routing table.
    pub fn new(
        catalog: Arc<Catalog>,
        upstreams: Vec<Upstream>,
        aliases: BTreeMap<String, Vec<Weighted>>,
        auto: Option<Vec<String>>,
        hints: BTreeMap<String, Vec<String>>,
        strict: bool,
    ) -> Self {
        let (tuning, alias_rules) = (Tuning::default(), BTreeMap::new());
        let by_catalog = by_catalog(&upstreams);
        Self { catalog, upstreams, by_catalog, aliases, auto, hints, strict, tuning, alias_rules }
    }

    /// With what the operator sets of routing, and of single aliases.
    #[must_use]
    pub fn tuned(self, tuning: Tuning, alias_rules: BTreeMap<String, AliasRule>) -> Self {
        Self { tuning, alias_rules, ..self }
    }

    /// The catalogue behind it.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Configured providers.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// Names of the aliases.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(String::as_str)
    }

    /// Decides who may answer, in order.
    ///
    /// # Errors
    /// 400 (capability, size, no free model), 403, 404, 410, 503 `no_credentials`.
    pub fn plan(&self, ask: &Ask, now: &Now<'_>) -> Result<Plan, Error> {
        let first = self.resolve(&ask.model, ask, now);
        if ask.no_fallback {
            let mut plan = first?;
            plan.targets.truncate(1);
            return Ok(plan);
        }
        // A model that nobody serves leaves the work to the fallbacks; a request that is wrong does not.
        if let Err(error) = &first
            && !matches!(error, Error::NoCredentials(_) | Error::ModelRetired(_))
        {
            return Err(error.clone());
        }
        let mut more = Vec::new();
        for (at, fallback) in ask.fallbacks.iter().take(TARGETS_MAX).enumerate() {
            match self.resolve(fallback, ask, now) {
                Ok(plan) => more.push(plan.targets),
                // A fallback that does not exist is a mistake worth telling; one that cannot help just does not.
                Err(Error::ModelNotFound { model, .. }) => return Err(no_such_fallback(at, &model)),
                Err(_) => {}
            }
        }
        let plan = match first {
            Err(error) if more.is_empty() => return Err(error),
            Err(_) => Plan { targets: Vec::new(), requested_provider: prefix(&ask.model), hedge: None },
            Ok(plan) => plan,
        };
        let Plan { targets, requested_provider, hedge } = plan;
        let lists = std::iter::once(targets).chain(more).filter(|list| !list.is_empty()).collect();
        Ok(Plan { targets: merged(lists), requested_provider, hedge })
    }
}

fn by_catalog(upstreams: &[Upstream]) -> HashMap<Arc<str>, Vec<usize>> {
    let mut places = HashMap::<_, Vec<usize>>::new();
    for (at, upstream) in upstreams.iter().enumerate() {
        places.entry(Arc::clone(&upstream.catalog)).or_default().push(at);
    }
    places
}

/// The provider that a model string names.
fn prefix(model: &str) -> Option<Arc<str>> {
    model.split_once('/').map(|(provider, _)| Arc::from(provider))
}

/// 400 for a fallback that is not there.
fn no_such_fallback(at: usize, model: &str) -> Error {
    let message = format!("The fallback model `{model}` does not exist or you do not have access to it.");
    Error::InvalidRequest { message, param: Some(format!("fallbacks[{at}]")), code: Some("model_not_found") }
}

/// One list of unique targets, at most [`TARGETS_MAX`]; a long list leaves a place to each that comes after it.
fn merged(lists: Vec<Vec<Target>>) -> Vec<Target> {
    let mut unique: Vec<Target> = Vec::new();
    let mut later = lists.len();
    for list in lists {
        later -= 1;
        let mut room = TARGETS_MAX.saturating_sub(unique.len() + later).max(1);
        for target in list {
            let known =
                |other: &Target| other.provider == target.provider && other.upstream == target.upstream;
            if room > 0 && !unique.iter().any(known) {
                unique.push(target);
                room -= 1;
            }
        }
    }
    unique.truncate(TARGETS_MAX);
    unique
}

#[cfg(test)]
mod tests;
