//! The outbox: what one cell owes to Billing, handed over in batches.
//!
//! Why: waking another thread costs a cell some 5 us, so receipts wait until 64 are gathered or 50 ms after the
//! first. Single-threaded (`Rc`); a timer runs only while something waits.
//!
//! Invariants: a receipt is in the journal before [`Outbox::receipt`] returns, if it can be written at all; receipts are
//! handed over in the order in which they came, also by a flush; none is dropped here. While Billing's mailbox is full, or Billing holds
//! [`UNSETTLED_MAX`](crate::actors::gauges::UNSETTLED_MAX) receipts, they are kept and tried again; at
//! [`RECEIPTS_MAX`], or [`TEXT_MAX`] of text yet to be counted, the outbox [is full](Outbox::is_full) and the
//! gateway must shed new calls. Call records feed
//! metrics only: beyond [`CALLS_MAX`] they are counted as lost and logged. Receipts that are still here when the
//! outbox is dropped are logged at error level.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use actix::dev::SendError;
use tracing::error;

use crate::actors::gauges::{Gauges, Unsettled};
use crate::actors::mailbox::Mailbox;
use crate::error::Shed;
use crate::journal::{Segments, Writer};
use crate::receipt::{Batch, CallRecord, Receipt};

/// Receipts and call records that make a batch worth another thread's wake-up.
pub const BATCH: usize = 64;
/// Receipts or call records in one batch at most, when many have waited.
const BATCH_MAX: usize = 1_024;
/// Bytes of uncounted text in one batch at most, one receipt's excepted: bounds what a full mailbox holds.
const BATCH_TEXT_MAX: usize = 4 << 20;
/// Bytes of uncounted text kept at most before the gateway sheds.
pub const TEXT_MAX: usize = 64 << 20;
/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(50);
/// Receipts kept at most before the gateway sheds. Calls in flight may still add theirs above it.
pub const RECEIPTS_MAX: usize = 100_000;
/// Call records kept at most.
pub const CALLS_MAX: usize = 100_000;

/// What one cell owes to Billing.
pub struct Outbox {
    billing: Recipient<Arc<Batch>>,
    mailbox: Mailbox,
    unsettled: Unsettled,
    journal: Option<(RefCell<Writer>, Arc<Segments>)>,
    held: RefCell<Held>,
    timer_runs: Cell<bool>,
    flushes: Cell<bool>,
    closed_told: Cell<bool>,
    calls_lost: Cell<u64>,
}

/// What waits. Queues, because a long backlog is taken from and put back to the front.
#[derive(Default)]
struct Held {
    receipts: VecDeque<Receipt>,
    /// Bytes of text in these receipts that Billing is to count.
    text: usize,
    calls: VecDeque<CallRecord>,
}

impl Outbox {
    /// An empty outbox towards `billing`, which counts what it holds in `unsettled`. Nothing is journalled.
    pub fn new(billing: Recipient<Arc<Batch>>, unsettled: Unsettled) -> Rc<Self> {
        Self::with(billing, Mailbox::default(), unsettled, None)
    }

    /// The same, with a journal that every receipt is written to.
    pub fn journalled(billing: Recipient<Arc<Batch>>, gauges: &Gauges, writer: Writer) -> Rc<Self> {
        let journal = (RefCell::new(writer), Arc::clone(&gauges.journal));
        Self::with(billing, gauges.billing.clone(), gauges.unsettled.clone(), Some(journal))
    }

    fn with(
        billing: Recipient<Arc<Batch>>,
        mailbox: Mailbox,
        unsettled: Unsettled,
        journal: Option<(RefCell<Writer>, Arc<Segments>)>,
    ) -> Rc<Self> {
        Rc::new(Self {
            billing,
            mailbox,
            unsettled,
            journal,
            held: RefCell::default(),
            timer_runs: Cell::new(false),
            flushes: Cell::new(false),
            closed_told: Cell::new(false),
            calls_lost: Cell::new(0),
        })
    }

    /// Takes the receipt of an attempt that ended, and writes it to the journal.
    pub fn receipt(self: &Rc<Self>, mut receipt: Receipt) {
        if let Some((writer, _)) = &self.journal
            && let Ok(mut writer) = writer.try_borrow_mut()
        {
            writer.append(&mut receipt);
        }
        let mut held = self.held.borrow_mut();
        held.text += text_len(&receipt);
        held.receipts.push_back(receipt);
        drop(held);
        self.gathered();
    }

    /// Takes the record of a call that ended.
    pub fn call(self: &Rc<Self>, call: CallRecord) {
        if self.held.borrow().calls.len() >= CALLS_MAX {
            let lost = self.calls_lost.get() + 1;
            self.calls_lost.set(lost);
            if lost.is_power_of_two() {
                error!(lost, "billing takes nothing: call records are missing from the metrics");
            }
            return;
        }
        self.held.borrow_mut().calls.push_back(call);
        self.gathered();
    }

    /// Why new calls must be shed: receipts cannot be written and that is the choice, or too many of them wait.
    pub fn sheds(&self) -> Option<Shed> {
        if self.journal.as_ref().is_some_and(|(_, segments)| segments.sheds()) {
            return Some(Shed::Journal);
        }
        let held = self.held.borrow();
        (held.receipts.len() >= RECEIPTS_MAX || held.text >= TEXT_MAX).then_some(Shed::Billing)
    }

    /// True when new calls must be shed.
    pub fn is_full(&self) -> bool {
        self.sheds().is_some()
    }

    /// Receipts and call records that wait.
    pub fn len(&self) -> usize {
        let held = self.held.borrow();
        held.receipts.len() + held.calls.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands over everything and returns when Billing has acknowledged it, for drain. The caller sets the
    /// deadline.
    ///
    /// # Errors
    /// The number of receipts that stay here because Billing is gone.
    pub async fn flush(&self) -> Result<(), usize> {
        let _flushing = Flushing::begin(&self.flushes);
        while let Some(batch) = self.take(true) {
            let batch = Arc::new(batch);
            // Until it is acknowledged the batch is kept here too: a flush cut off by its deadline loses nothing.
            let kept = Kept { outbox: self, batch: Some(Arc::clone(&batch)) };
            self.mailbox.sent();
            if self.billing.send(batch).await.is_err() {
                self.mailbox.taken();
                drop(kept);
                return Err(self.held.borrow().receipts.len());
            }
            kept.acknowledged();
        }
        Ok(())
    }

    /// Something was added: hand over a full batch, or see to it that the timer runs.
    fn gathered(self: &Rc<Self>) {
        if self.len() == BATCH {
            self.hand_over();
        }
        if !self.is_empty() && !self.timer_runs.replace(true) {
            actix_rt::spawn(Rc::clone(self).linger());
        }
    }

    /// The timer: tries until nothing waits.
    async fn linger(self: Rc<Self>) {
        while !self.is_empty() {
            actix_rt::time::sleep(LINGER).await;
            self.hand_over();
        }
        self.timer_runs.set(false);
    }

    /// Gives Billing as many batches as it takes now.
    fn hand_over(&self) {
        // A flush hands over what is older: nothing may pass it by.
        if self.flushes.get() {
            return;
        }
        while let Some(batch) = self.take(!self.unsettled.is_full()) {
            self.mailbox.sent();
            match self.billing.try_send(Arc::new(batch)) {
                Ok(()) => {}
                Err(SendError::Full(batch)) => {
                    self.mailbox.found_full();
                    return self.put_back(batch);
                }
                Err(SendError::Closed(batch)) => {
                    self.mailbox.taken();
                    self.put_back(batch);
                    if !self.closed_told.replace(true) {
                        error!("billing is gone: receipts are kept, and new calls will be shed");
                    }
                    return;
                }
            }
        }
    }

    /// The next batch, without receipts unless wanted; `None` when there is none.
    fn take(&self, with_receipts: bool) -> Option<Batch> {
        let mut held = self.held.borrow_mut();
        let mut text = 0;
        let fits = |receipt: &&Receipt| {
            let first = text == 0;
            text += text_len(receipt);
            first || text <= BATCH_TEXT_MAX
        };
        let receipts_max = if with_receipts { BATCH_MAX } else { 0 };
        let receipts = held.receipts.iter().take(receipts_max).take_while(fits).count();
        let calls = held.calls.len().min(BATCH_MAX);
        let batch = Batch {
            receipts: held.receipts.drain(..receipts).collect(),
            calls: held.calls.drain(..calls).collect(),
        };
        held.text -= batch.receipts.iter().map(text_len).sum::<usize>();
        (receipts + calls > 0).then_some(batch)
    }

    /// Puts a refused batch back to the front.
    fn put_back(&self, batch: Arc<Batch>) {
        let Batch { receipts, calls } = Arc::unwrap_or_clone(batch);
        let mut held = self.held.borrow_mut();
        held.text += receipts.iter().map(text_len).sum::<usize>();
        receipts.into_iter().rev().for_each(|receipt| held.receipts.push_front(receipt));
        calls.into_iter().rev().for_each(|call| held.calls.push_front(call));
    }
}

/// Bytes of text that the receipt carries to be counted.
fn text_len(receipt: &Receipt) -> usize {
    receipt.unmetered.as_ref().map_or(0, |text| text.request.len() + text.delivered.len())
}

/// A flush that goes on until this drops.
struct Flushing<'a>(&'a Cell<bool>);

impl<'a> Flushing<'a> {
    fn begin(flushes: &'a Cell<bool>) -> Self {
        flushes.set(true);
        Self(flushes)
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A batch on its way that returns to the outbox unless acknowledged.
struct Kept<'a> {
    outbox: &'a Outbox,
    batch: Option<Arc<Batch>>,
}

impl Kept<'_> {
    /// Billing has it.
    fn acknowledged(mut self) {
        self.batch = None;
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.outbox.put_back(batch);
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let receipts = self.held.borrow().receipts.iter().filter(|receipt| receipt.place.is_none()).count();
        if receipts > 0 {
            error!(receipts, "receipts could not be handed to billing and are lost to the ledger");
        }
    }
}
