//! Settlement: when which receipts go to the store.
//!
//! Invariants: one transaction at a time; receipts go in the order they came; those of a failed transaction are
//! offered again, together, before any other; a store that hangs or panics counts as failed.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Addr, Message};
use futures_util::FutureExt;
use tracing::{error, info};

use super::{Billing, Ledger};
use crate::actors::gauges::Gauges;
use crate::receipt::Receipt;

/// Receipts in one transaction at most.
const TRANSACTION_MAX: usize = 1_000;

/// How often the store is written to.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the start of one transaction to the start of the next, unless a full one waits.
    pub every: Duration,
    /// Pause after a first failure; doubled by each further one.
    pub pause_min: Duration,
    /// Longest pause between attempts.
    pub pause_max: Duration,
    /// A transaction that takes longer counts as failed.
    pub deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(200),
            pause_min: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
        }
    }
}

/// The pace says that the next transaction may start.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Due;

/// A transaction ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Settled(Result<(), String>);

/// What happens now.
enum State {
    /// Nothing to do.
    Idle,
    /// A [`Due`] will come.
    Waiting,
    /// A [`Settled`] will come.
    Running,
}

/// Receipts on their way to the store.
pub(super) struct Settlement {
    ledger: Arc<dyn Ledger>,
    gauges: Gauges,
    pace: Pace,
    state: State,
    pending: VecDeque<Receipt>,
    /// The transaction that runs, or is to be tried again.
    transaction: Option<Arc<Vec<Receipt>>>,
    started: Option<Instant>,
    failures: u32,
}

impl Settlement {
    /// Nothing to settle yet.
    pub(super) fn new(ledger: Arc<dyn Ledger>, gauges: Gauges, pace: Pace) -> Self {
        Self {
            ledger,
            gauges,
            pace,
            state: State::Idle,
            pending: VecDeque::new(),
            transaction: None,
            started: None,
            failures: 0,
        }
    }

    /// Queues receipts. The queue is bounded by whoever sends: see `Unsettled::is_full`.
    pub(super) fn take<'a>(&mut self, receipts: impl Iterator<Item = &'a Receipt>) {
        self.pending.extend(receipts.cloned());
    }

    /// Sees to it that what is queued will be settled.
    pub(super) fn arrange(&mut self, billing: &Addr<Billing>) {
        if !matches!(self.state, State::Idle) || (self.pending.is_empty() && self.transaction.is_none()) {
            return;
        }
        let wait = self.wait();
        if wait.is_zero() {
            return self.start(billing);
        }
        self.state = State::Waiting;
        let billing = billing.clone();
        actix_rt::spawn(async move {
            actix_rt::time::sleep(wait).await;
            // One such message exists at a time, so passing by the mailbox's bound is harmless.
            billing.do_send(Due);
        });
    }

    /// The pause is over. One that outlived a [`hurry`](Self::hurry) comes early, which does no harm.
    pub(super) fn due(&mut self, billing: &Addr<Billing>) {
        if matches!(self.state, State::Waiting) {
            self.start(billing);
        }
    }

    /// Settles now instead of when it is due. Should that fail, the pauses begin anew: long ones are for a store that was
    /// down for long, and there may be no time for them now.
    pub(super) fn hurry(&mut self, billing: &Addr<Billing>) {
        self.started = None;
        self.failures = 0;
        if matches!(self.state, State::Waiting) {
            self.start(billing);
        }
    }

    /// A transaction ended: go on, or try it again later.
    pub(super) fn settled(&mut self, settled: Settled, billing: &Addr<Billing>) {
        self.state = State::Idle;
        let up = settled.0.is_ok();
        let news = self.gauges.store_up.set(up);
        match settled.0 {
            Ok(()) => {
                self.failures = 0;
                let count = self.transaction.take().map_or(0, |receipts| receipts.len());
                self.gauges.unsettled.sub(count);
                if news {
                    info!(unsettled = self.gauges.unsettled.get(), "the store takes receipts again");
                }
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if news {
                    error!(
                        unsettled = self.gauges.unsettled.get(),
                        "receipts are kept, the store fails: {why}"
                    );
                }
            }
        }
        self.arrange(billing);
    }

    /// How long until the next transaction may start.
    fn wait(&self) -> Duration {
        let since = self.started.map_or(Duration::MAX, |started| started.elapsed());
        let pause = match self.failures {
            0 if self.pending.len() >= TRANSACTION_MAX => Duration::ZERO,
            0 => self.pace.every,
            failures => {
                let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                self.pace.pause_min.saturating_mul(factor).min(self.pace.pause_max)
            }
        };
        pause.saturating_sub(since)
    }

    /// Runs one transaction beside the mailbox.
    fn start(&mut self, billing: &Addr<Billing>) {
        let count = self.pending.len().min(TRANSACTION_MAX);
        let pending = &mut self.pending;
        let receipts = self.transaction.get_or_insert_with(|| Arc::new(pending.drain(..count).collect()));
        let (receipts, ledger) = (Arc::clone(receipts), Arc::clone(&self.ledger));
        let (billing, deadline) = (billing.clone(), self.pace.deadline);
        self.state = State::Running;
        self.started = Some(Instant::now());
        actix_rt::spawn(async move {
            let settle = AssertUnwindSafe(ledger.settle(&receipts)).catch_unwind();
            let result = match actix_rt::time::timeout(deadline, settle).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err("the store panicked".to_owned()),
                Err(_) => Err(format!("the store did not answer within {deadline:?}")),
            };
            // One such message exists at a time, so passing by the mailbox's bound is harmless.
            billing.do_send(Settled(result));
        });
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let receipts = self.pending.len() + self.transaction.as_ref().map_or(0, |receipts| receipts.len());
        if receipts > 0 {
            error!(receipts, "receipts could not be settled and are lost to the ledger");
        }
    }
}
