//! The journal at the start and at the end of the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{StartError, failed};
use crate::actors::billing::Left;
use crate::actors::gauges::Gauges;
use crate::config::Settings;
use crate::journal::{Journal, Keeper, Segments};

/// How often is looked.
const POLL: Duration = Duration::from_millis(5);
/// How long the start waits for a store that takes nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long the keeper may take at the end.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Opens the journal, and starts what looks after it.
pub fn opened(settings: &Settings, gauges: &Gauges) -> Result<(Arc<Journal>, Keeper), StartError> {
    let segments = Arc::clone(&gauges.journal);
    let journal = Journal::open(&settings.data_dir, settings.journal, segments).map_err(failed(""))?;
    let keeper = journal.keep().map_err(failed(""))?;
    Ok((journal, keeper))
}

/// Waits until Billing has settled what processes left that are gone. A store that takes none of it for [`STALL`] does not
/// hold up the start: it is settled when the store can.
pub async fn replayed(segments: &Segments) {
    let left = || -> u64 {
        let adopted = segments.all().into_iter().filter(|segment| segment.is_adopted());
        adopted.map(|segment| segment.written().saturating_sub(segment.settled_to())).sum()
    };
    let (mut before, mut since) = (left(), Instant::now());
    if before > 0 {
        tracing::info!(
            bytes = before,
            "the journal holds receipts of an earlier process: they are settled first"
        );
    }
    loop {
        let bytes = left();
        if bytes == 0 {
            return;
        }
        if bytes < before {
            (before, since) = (bytes, Instant::now());
        }
        if since.elapsed() > STALL {
            tracing::error!(
                bytes,
                "the store takes nothing of an earlier process's receipts: they stay in the journal"
            );
            return;
        }
        sleep(POLL).await;
    }
}

/// Lets the keeper look a last time, and says what waits for the next start.
pub async fn closed(keeper: &Keeper, left: Left) {
    if left.kept > 0 {
        tracing::warn!(receipts = left.kept, "receipts stay in the journal: the next start settles them");
    }
    keeper.end();
    let deadline = Instant::now() + END_DEADLINE;
    while !keeper.has_ended() && Instant::now() < deadline {
        sleep(POLL).await;
    }
}
