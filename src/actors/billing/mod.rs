//! Billing: the process-wide actor that completes receipts, sums them and settles them into the store.
//!
//! Why an actor on a thread of its own: counting tokens and waiting for the store must never hold up a cell.
//!
//! Invariants: a receipt leaves this actor only when the store has booked it, or is logged as lost when the
//! process ends; one settlement runs at a time, as a task beside the mailbox; while the store is down settlement
//! is tried for ever with growing pauses. When [`UNSETTLED_MAX`](super::gauges::UNSETTLED_MAX) receipts are held
//! the outboxes keep theirs, and what they cannot keep is shed at the door: the queue here exceeds that bound by
//! what the [`MAILBOX`] holds at most.

mod ledger;
mod settlement;
#[cfg(test)]
mod tests;
mod totals;

use std::sync::Arc;
use std::time::Duration;

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
        let why = match self.metrics.try_send(batch) {
            Ok(()) => return,
            Err(SendError::Full(_)) => "the metrics actor lags",
            Err(SendError::Closed(_)) => "the metrics actor is gone",
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
    }
}

impl Handler<Arc<Batch>> for Billing {
    type Result = ();

    fn handle(&mut self, batch: Arc<Batch>, ctx: &mut Self::Context) {
        let batch = completed(batch);
        // An attempt that found no connection is a number for Metrics and no row of the ledger.
        let reached = || batch.receipts.iter().filter(|receipt| receipt.reached);
        self.gauges.unsettled.add(reached().count());
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

/// Settle now, whatever the pace; answers when every receipt taken is in the store or the deadline is over.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "u64")]
pub struct Flush {
    /// How long to wait. The answer is the number of receipts still unsettled, zero at best.
    pub deadline: Duration,
}

impl Handler<Flush> for Billing {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, flush: Flush, ctx: &mut Self::Context) -> Self::Result {
        self.settlement.hurry(&ctx.address());
        let unsettled = self.gauges.unsettled.clone();
        Box::pin(async move {
            let in_time = actix_rt::time::timeout(flush.deadline, unsettled.none()).await;
            if in_time.is_ok() { 0 } else { unsettled.get() }
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
