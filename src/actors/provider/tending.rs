//! What is done for a provider between calls: connections kept open ahead, and probes.

use std::time::{Duration, Instant};

use actix::WeakAddr;
use tokio::time::sleep;

use super::{Factory, Provider};

/// How often connections are kept from growing old: below the time after which an idle one is closed.
const WARM: Duration = Duration::from_secs(20);

/// Tends a provider for as long as its actor lives.
pub async fn tend(factory: Factory, alive: WeakAddr<Provider>) {
    let Factory { link, account, .. } = &factory;
    let tending = &link.provider.tending;
    let probe = tending.probe.as_ref();
    if tending.warm_connections == 0 && probe.is_none() {
        return;
    }
    let (mut warmed, mut rest) = (None::<Instant>, WARM);
    while alive.upgrade().is_some() {
        if tending.warm_connections > 0 && warmed.is_none_or(|at| at.elapsed() >= WARM) {
            link.warm().await;
            warmed = Some(Instant::now());
        }
        if let Some(rule) = probe {
            rest = WARM.min(rule.interval);
            if account.begin_probe(rule.interval, Instant::now()) && account.probed(link.probe(rule).await) {
                let id = &link.provider.id;
                if account.is_down() {
                    tracing::warn!(provider = %id, "probes fail: other providers come first");
                } else {
                    tracing::info!(provider = %id, "probes go well again");
                }
            }
        }
        sleep(rest).await;
    }
}
