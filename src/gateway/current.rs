//! What is in force is made here: from settings and a catalogue, at the start and at every reload.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::live::Current;
use crate::catalog::Catalog;
use crate::config::{Alias, Provider, Settings};
use crate::policy::account::Accounts;
use crate::policy::route::{AliasRule, Hedge, Router, Tuning, Upstream};
use crate::upstream::{Keyring, LinkError};

/// Puts in one place what calls are served by. Every provider row is known to make a client.
///
/// # Errors
/// An address, credential or header that HTTP cannot carry, or a key that cannot be used.
pub fn current(
    settings: Settings,
    catalog: Arc<Catalog>,
    accounts: &Accounts,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Current, LinkError> {
    let keyring = Keyring::new(settings.providers.values())?;
    let router = Arc::new(router(&settings, catalog, accounts));
    let current = Current { settings, router, tls, keyring };
    current.check_links()?;
    Ok(current)
}

/// The routing table of these settings.
fn router(settings: &Settings, catalog: Arc<Catalog>, accounts: &Accounts) -> Router {
    let now = std::time::Instant::now();
    let upstream = |provider: &Arc<Provider>| Upstream {
        id: Arc::clone(&provider.id),
        catalog: Arc::clone(&provider.catalog),
        credentialed: provider.has_credential(),
        env: provider.env.clone(),
        account: accounts.of(provider, now),
        rule: provider.admission,
    };
    let alias =
        |alias: &Alias| alias.targets.iter().map(|target| (target.model.clone(), target.weight)).collect();
    Router::new(
        catalog,
        settings.providers.values().map(upstream).collect(),
        settings.aliases.iter().map(|(name, targets)| (name.clone(), alias(targets))).collect(),
        settings.catalog.auto.clone(),
        settings.credential_hints.clone(),
        settings.catalog.strict,
    )
    .tuned(
        tuning(settings),
        settings.aliases.iter().map(|(name, alias)| (name.clone(), rule(alias))).collect(),
    )
}

/// What the operator sets of routing.
fn tuning(settings: &Settings) -> Tuning {
    Tuning { mode: settings.routing.mode, exploration: settings.routing.exploration * 10 }
}

/// What an alias says beside its targets.
fn rule(alias: &Alias) -> AliasRule {
    let hedge = match alias.hedge_after {
        Duration::ZERO => Hedge::P95,
        after => Hedge::After(after),
    };
    AliasRule { routing: alias.routing, hedge: alias.hedge.then_some(hedge) }
}
