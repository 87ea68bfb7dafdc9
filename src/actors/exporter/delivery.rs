//! One request to the collector, and its further tries.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use super::counts::{Dropped, ExportCounts, Signal};
use crate::upstream::{Collector, NotTaken};

/// What is waited before each further try, milliseconds.
const PAUSES_MS: [u64; 4] = [250, 1_000, 2_000, 4_000];
/// The longest pause that a collector may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Something to be sent.
pub struct Parcel {
    /// What it is.
    pub signal: Signal,
    /// Spans or points in it.
    pub items: u64,
    /// The request's body.
    pub body: Bytes,
}

/// Sends a parcel, again where that may help; counts what became of it. Once the process is in a hurry there are no
/// further tries.
pub async fn deliver(
    collector: Rc<Collector>,
    parcel: Parcel,
    counts: ExportCounts,
    mut hurry: watch::Receiver<bool>,
) {
    let Parcel { signal, items, body } = parcel;
    let mut pauses = PAUSES_MS.into_iter().map(Duration::from_millis);
    let (reason, why) = loop {
        match collector.send(signal.path(), body.clone()).await {
            Ok(rejected) => {
                let rejected = rejected.min(items);
                counts.exported(signal, items - rejected);
                if rejected > 0 {
                    counts.dropped(signal, Dropped::Refused, rejected);
                }
                return;
            }
            Err(NotTaken::Never(why)) => break (Dropped::Refused, why),
            Err(NotTaken::Again(why, told)) => {
                let Some(pause) = pauses.next().filter(|_| !*hurry.borrow()) else {
                    break (Dropped::Unreachable, why);
                };
                let pause = told.unwrap_or(pause).clamp(pause, PAUSE_MAX);
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = hurry.wait_for(|hurry| *hurry) => {}
                }
            }
        }
    };
    let before = counts.dropped(signal, reason, items);
    // Once per doubling: a collector that is gone for a day must not fill the log.
    if before.checked_ilog2() != (before + items).checked_ilog2() {
        tracing::warn!(?signal, dropped = before + items, why, "the collector does not take telemetry");
    }
}
