//! How the providers are doing: read for operators at the moment they ask, from what all cells share.

use std::sync::Arc;
use std::time::Instant;

use super::live::Live;
use crate::config::Provider;
use crate::policy::account::{Account, Accounts};
use crate::policy::admission::Load;
use crate::policy::health::{Reading, State};
use crate::policy::pool::CredentialStanding;
use crate::policy::tally::Failovers;

/// Where to look.
#[derive(Clone)]
pub struct Standings {
    live: Live,
    accounts: Arc<Accounts>,
}

/// One provider.
pub struct ProviderStanding {
    /// The row.
    pub provider: Arc<Provider>,
    /// Probes of it fail; `None` when it is not probed.
    pub probes_fail: Option<bool>,
    /// How full it is.
    pub load: Load,
    /// Its credentials.
    pub credentials: Vec<CredentialStanding>,
    /// What all cells share of it.
    pub account: Arc<Account>,
    /// Its models that were asked lately or are not asked now, by name.
    pub targets: Vec<TargetStanding>,
}

/// One model of a provider.
pub struct TargetStanding {
    /// The name sent upstream.
    pub model: Arc<str>,
    /// The catalogue knows it.
    pub known: bool,
    /// What is known of it.
    pub reading: Reading,
}

impl Standings {
    /// Of the providers in force.
    pub fn new(live: Live, accounts: Arc<Accounts>) -> Self {
        Self { live, accounts }
    }

    /// All of them, by id.
    pub fn providers(&self, now: Instant) -> Vec<ProviderStanding> {
        let current = self.live.load_full();
        let standing = |provider| Some(Self::provider(provider, self.accounts.get(&provider.id)?, now));
        current.settings.providers.values().filter_map(standing).collect()
    }

    /// The ways that calls took from one provider to another.
    pub fn failovers(&self) -> &Failovers {
        &self.accounts.failovers
    }

    fn provider(provider: &Arc<Provider>, account: Arc<Account>, now: Instant) -> ProviderStanding {
        let target = |(model, health): (Arc<str>, Arc<crate::policy::health::TargetHealth>)| {
            let reading = health.exact(now);
            let telling = reading.attempts > 0.0 || reading.state != State::Closed;
            telling.then(|| TargetStanding { known: !account.is_stranger(&model), model, reading })
        };
        let mut targets: Vec<_> = account.targets().into_iter().filter_map(target).collect();
        targets.sort_by(|one, other| one.model.cmp(&other.model));
        ProviderStanding {
            probes_fail: provider.tending.probe.as_ref().map(|_| account.is_down()),
            load: account.gate.load(&provider.admission),
            credentials: account.pool().standings(now),
            targets,
            provider: Arc::clone(provider),
            account,
        }
    }
}
