//! Billing: the process-wide actor that completes receipts, sums them and settles them into the store.
//!
//! Why an actor on a thread of its own: counting tokens and waiting for the store must never hold up a cell.
//!
//! Invariants: a receipt leaves this actor only when the store has booked it, when the journal has it and will be
//! read, or is logged as lost when the process ends; one settlement runs at a time, as a task beside the mailbox; while
//! the store is down settlement is tried for ever with growing pauses. Receipts that are in memory alone are bounded:
//! when [`UNSETTLED_MAX`](super::gauges::UNSETTLED_MAX) are held the outboxes keep theirs, and what they cannot keep is
//! shed at the door: the queue here exceeds that bound by what the [`MAILBOX`] holds at most.

mod cold;
mod ledger;
mod settlement;
#[cfg(test)]
mod tests;
mod totals;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::dev::SendError;
use actix::prelude::*;
use tracing::error;

pub use ledger::Ledger;
pub use settlement::Pace;
pub use totals::{Total, Totals};

use self::settlement::{Due, Settled, Settlement};
use crate::actors::gauges::Gauges;
use crate::policy::completion;
use crate::receipt::Batch;

/// Batches that wait for Billing at most; a full mailbox is tried again by the outbox.
pub const MAILBOX: usize = 64;

/// Completes, sums and settles receipts, and passes them on to Metrics.
pub struct Billing {
    metrics: Recipient<Arc<Batch>>,
    gauges: Gauges,
    totals: Totals,
    settlement: Settlement,
    batches_unmeasured: u64,
}

impl Billing {
    /// Starts Billing on a thread of its own. Must run inside an actix system.
    pub fn launch(
        ledger: Arc<dyn Ledger>,
        metrics: Recipient<Arc<Batch>>,
        gauges: Gauges,
        pace: Pace,
    ) -> Addr<Self> {
        let settlement = Settlement::new(ledger, gauges.clone(), pace);
        let arbiter = Arbiter::new();
        Self::start_in_arbiter(&arbiter.handle(), move |_| Self {
            metrics,
            gauges,
            totals: Totals::default(),
            settlement,
            batches_unmeasured: 0,
        })
    }

    /// Metrics gets the completed batch; a full mailbox there costs numbers, never money.
    fn measure(&mut self, batch: Arc<Batch>) {
        self.gauges.metrics.sent();
        let why = match self.metrics.try_send(batch) {
            Ok(()) => return,
            Err(SendError::Full(_)) => {
                self.gauges.metrics.found_full();
                "the metrics actor lags"
            }
            Err(SendError::Closed(_)) => {
                self.gauges.metrics.taken();
                "the metrics actor is gone"
            }
        };
        self.batches_unmeasured += 1;
        if self.batches_unmeasured.is_power_of_two() {
            error!(batches = self.batches_unmeasured, "{why}: batches are missing from the metrics");
        }
    }
}

impl Actor for Billing {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // What another process left is settled first.
        self.settlement.arrange(&ctx.address());
    }
}

impl Handler<Arc<Batch>> for Billing {
    type Result = ();

    fn handle(&mut self, batch: Arc<Batch>, ctx: &mut Self::Context) {
        self.gauges.billing.taken();
        let batch = completed(batch);
        // An attempt that found no connection is a number for Metrics and no row of the ledger.
        let reached = || batch.receipts.iter().filter(|receipt| receipt.reached);
        reached().for_each(|receipt| self.totals.add(receipt));
        self.settlement.take(reached());
        self.measure(batch);
        self.settlement.arrange(&ctx.address());
    }
}

/// The batch with every receipt completed; the same one when there is nothing to do.
fn completed(batch: Arc<Batch>) -> Arc<Batch> {
    if !batch.receipts.iter().any(completion::is_incomplete) {
        return batch;
    }
    let mut batch = Arc::unwrap_or_clone(batch);
    for receipt in &mut batch.receipts {
        completion::complete(receipt);
        if let Some(held) = receipt.held.take() {
            held.settle(receipt.charged.unwrap_or_default(), receipt.time_ms);
        }
    }
    Arc::new(batch)
}

/// Settle now, whatever the pace; answers when every receipt is in the store or the deadline is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Left")]
pub struct Flush {
    /// How long to wait.
    pub deadline: Duration,
}

/// What is not in the store, zero at best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Receipts that are in memory alone: lost when the process ends.
    pub lost: u64,
    /// Receipts in the journal: the next start settles them.
    pub kept: u64,
}

/// How often a flush looks.
const FLUSH_POLL: Duration = Duration::from_millis(5);

impl Handler<Flush> for Billing {
    type Result = ResponseFuture<Left>;

    fn handle(&mut self, flush: Flush, ctx: &mut Self::Context) -> Self::Result {
        self.settlement.hurry(&ctx.address());
        let gauges = self.gauges.clone();
        let left = move || Left { lost: gauges.unsettled.alone(), kept: gauges.journal.unsettled() };
        Box::pin(async move {
            let deadline = Instant::now() + flush.deadline;
            while left() != Left::default() && Instant::now() < deadline {
                actix_rt::time::sleep(FLUSH_POLL).await;
            }
            left()
        })
    }
}

/// The sums since the process started.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Totals")]
pub struct Snapshot;

impl Handler<Snapshot> for Billing {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.totals.clone())
    }
}

impl Handler<Due> for Billing {
    type Result = ();

    fn handle(&mut self, _: Due, ctx: &mut Self::Context) {
        self.settlement.due(&ctx.address());
    }
}

impl Handler<Settled> for Billing {
    type Result = ();

    fn handle(&mut self, settled: Settled, ctx: &mut Self::Context) {
        self.settlement.settled(settled, &ctx.address());
    }
}
