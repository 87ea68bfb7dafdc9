//! What is done for a provider between calls: connections kept open ahead, and probes.

use std::rc::Weak;
use std::time::{Duration, Instant};

use tokio::time::{Instant as Moment, sleep_until};

use super::provider::Factory;
use crate::config::ProbeRule;
use crate::policy::tally::Ejection;

/// How often connections are kept from growing old: below the time after which an idle one is closed.
const WARM: Duration = Duration::from_secs(20);

/// Tends a provider for as long as somebody holds `tended`: until its row is another one.
pub async fn tend(factory: Factory, tended: Weak<()>) {
    let tending = &factory.link.provider.tending;
    let probe = tending.probe.as_ref();
    let warms = tending.warm_connections > 0;
    if !warms && probe.is_none() {
        return;
    }
    let (mut warm_at, mut probe_at) = (Moment::now(), Moment::now());
    while tended.strong_count() > 0 {
        let now = Moment::now();
        if warms && now >= warm_at {
            warm_at = now + WARM;
            factory.link.warm().await;
        }
        if let Some(rule) = probe
            && now >= probe_at
        {
            probe_at = now + rule.interval;
            self::probe(&factory, rule).await;
        }
        let next = match (warms, probe.is_some()) {
            (true, true) => warm_at.min(probe_at),
            (true, false) => warm_at,
            _ => probe_at,
        };
        sleep_until(next).await;
    }
}

/// Asks the provider how it is, if it is this cell's turn.
async fn probe(factory: &Factory, rule: &ProbeRule) {
    let Factory { link, account, pool, .. } = factory;
    let now = Instant::now();
    if !account.begin_probe(rule.interval, now) {
        return;
    }
    // A credential that is refused says nothing of the provider: another one asks, if there is one.
    let usable = pool.standings(now).iter().position(|credential| credential.refused_for.is_none());
    let Some(well) = link.probe(rule, usable.unwrap_or(0)).await else { return };
    if !account.probed(well) {
        return;
    }
    let id = &link.provider.id;
    if account.is_down() {
        account.tally.ejected(Ejection::HealthProbe);
        tracing::warn!(provider = %id, "probes fail: other providers come first");
    } else {
        tracing::info!(provider = %id, "probes go well again");
    }
}
