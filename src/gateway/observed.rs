//! What tells of the process: numbers, the state of providers, and what goes to the collector.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;

use super::{StartError, failed};
use crate::actors::exporter::Exporter;
use crate::actors::gauges::Gauges;
use crate::actors::live::Live;
use crate::actors::metrics::{Look, Metrics};
use crate::actors::standing::Standings;
use crate::policy::account::Accounts;
use crate::store::KeyTable;

/// How long the collector gets to take what is left when the process ends.
const LAST_WORD: Duration = Duration::from_secs(2);

/// The end of the way of everything that ended: Metrics, and the exporter behind it.
pub struct Told {
    metrics: Addr<Metrics>,
    exporter: Option<Exporter>,
}

impl Told {
    /// Sends what is left to the collector, for a bounded time; at once without one.
    pub async fn flush(&self) {
        let Some(exporter) = &self.exporter else { return };
        let flushed = async {
            // Answered once every batch before it was passed on.
            let _ = self.metrics.send(Look).await;
            exporter.flush(LAST_WORD).await;
        };
        let _ = tokio::time::timeout(2 * LAST_WORD, flushed).await;
    }
}

/// What the metrics actor and the management API read of providers, the actor, and what is flushed at the end.
pub fn observed(
    live: &Live,
    accounts: &Arc<Accounts>,
    gauges: &Gauges,
    keys: &Arc<KeyTable>,
) -> Result<(Standings, Addr<Metrics>, Told), StartError> {
    let standings = Standings::new(Arc::clone(live), Arc::clone(accounts));
    let exporter = Exporter::launch(live, gauges.exported.clone());
    let metrics = Metrics::new(gauges.clone(), standings.clone(), Arc::clone(keys));
    let metrics = metrics.map_err(failed("metrics: "))?.before(exporter.clone()).run();
    Ok((standings, metrics.clone(), Told { metrics, exporter }))
}
