//! Settlement: when which receipts go to the store.
//!
//! Receipts come from memory, or are read back from a segment of the journal that is *cold*: some of it was let go from
//! memory, or another process wrote it. Cold segments go first: they are older.
//!
//! Invariants: one transaction at a time; the receipts of a segment go in the order in which they were written, which is
//! what its position stands for: once a segment is cold, none of it is kept in memory. Those of a failed transaction are
//! offered again, together, before any other; a store that hangs or panics counts as failed.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Addr, Message};
use futures_util::FutureExt;
use tracing::{error, info};

use super::{Billing, Ledger, cold};
use crate::actors::gauges::Gauges;
use crate::journal::Segment;
use crate::receipt::Receipt;

/// Receipts in one transaction at most: PostgreSQL takes a third more of them per second than in transactions of 1,000, and
/// SQLite holds its lock for about an eighth of a second.
const TRANSACTION_MAX: usize = 4_000;

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
    /// Receipts in memory beyond which those are let go that the journal has.
    pub memory_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(200),
            pause_min: Duration::from_millis(200),
            pause_max: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            memory_max: 20_000,
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

/// What goes to the store together.
pub(super) struct Transaction {
    /// Its receipts.
    pub(super) receipts: Vec<Receipt>,
    /// The cold segment that they were read from, and where the next ones begin.
    pub(super) read: Option<(Arc<Segment>, u64)>,
}

/// Receipts on their way to the store.
pub(super) struct Settlement {
    ledger: Arc<dyn Ledger>,
    gauges: Gauges,
    pace: Pace,
    state: State,
    pending: VecDeque<Receipt>,
    /// Numbers of the cold segments.
    cold: BTreeSet<u64>,
    /// There is something to read in them, as far as is known: what cannot be read waits for its turn.
    readable: bool,
    /// The transaction that runs, or is to be tried again.
    transaction: Option<Arc<Transaction>>,
    started: Option<Instant>,
    failures: u32,
}

impl Settlement {
    /// Nothing to settle yet but what another process left.
    pub(super) fn new(ledger: Arc<dyn Ledger>, gauges: Gauges, pace: Pace) -> Self {
        let adopted = gauges.journal.all();
        let cold = adopted.iter().filter(|segment| segment.is_adopted()).map(|segment| segment.number());
        Self {
            cold: cold.collect(),
            readable: true,
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

    /// Queues receipts. Those in memory alone are bounded by whoever sends: see `Unsettled::is_full`. Of the others those
    /// that find no room are let go.
    pub(super) fn take<'a>(&mut self, receipts: impl Iterator<Item = &'a Receipt>) {
        let mut segment: Option<Arc<Segment>> = None;
        for receipt in receipts {
            let Some(place) = receipt.place else {
                self.gauges.unsettled.add(1);
                self.pending.push_back(receipt.clone());
                continue;
            };
            if segment.as_ref().is_none_or(|segment| segment.number() != place.segment) {
                segment = self.gauges.journal.get(place.segment);
            }
            // One that is gone, or settled so far, was read back before this came.
            let Some(segment) = segment.as_ref().filter(|segment| segment.settled_to() < place.end) else {
                continue;
            };
            if self.cold.contains(&place.segment) {
                continue;
            }
            if self.pending.len() >= self.pace.memory_max {
                self.let_go(segment);
                continue;
            }
            self.gauges.unsettled.add_journalled(1);
            self.pending.push_back(receipt.clone());
        }
    }

    /// Keeps nothing of a segment in memory from here on. Its writer may go on: it is closed once it was read to its end.
    fn let_go(&mut self, segment: &Segment) {
        self.cold.insert(segment.number());
        self.readable = true;
        let before = self.pending.len();
        self.pending.retain(|receipt| receipt.place.is_none_or(|place| place.segment != segment.number()));
        self.gauges.unsettled.sub_journalled(before - self.pending.len());
    }

    /// Sees to it that what is queued will be settled.
    pub(super) fn arrange(&mut self, billing: &Addr<Billing>) {
        let nothing = self.pending.is_empty() && self.cold.is_empty() && self.transaction.is_none();
        if !matches!(self.state, State::Idle) || nothing {
            return;
        }
        let wait = self.wait();
        if wait.is_zero() { self.start(billing) } else { self.later(wait, billing) }
    }

    /// Starts after a pause.
    fn later(&mut self, pause: Duration, billing: &Addr<Billing>) {
        self.state = State::Waiting;
        let billing = billing.clone();
        actix_rt::spawn(async move {
            actix_rt::time::sleep(pause).await;
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
                if let Some(transaction) = self.transaction.take() {
                    self.note(&transaction);
                }
                if news {
                    info!(unsettled = self.gauges.unsettled_receipts(), "the store takes receipts again");
                }
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if news {
                    error!(
                        unsettled = self.gauges.unsettled_receipts(),
                        "receipts are kept, the store fails: {why}"
                    );
                }
            }
        }
        self.arrange(billing);
    }

    /// The store has these receipts.
    fn note(&self, transaction: &Transaction) {
        let Transaction { receipts, read } = transaction;
        if let Some((segment, next)) = read {
            let last_ms = receipts.last().map_or(0, |receipt| receipt.time_ms);
            return segment.settle(*next, receipts.len() as u64, last_ms);
        }
        let mut journalled = 0;
        let mut segment: Option<Arc<Segment>> = None;
        for (place, receipt) in receipts.iter().filter_map(|receipt| Some((receipt.place?, receipt))) {
            journalled += 1;
            if segment.as_ref().is_none_or(|segment| segment.number() != place.segment) {
                segment = self.gauges.journal.get(place.segment);
            }
            if let Some(segment) = &segment {
                segment.settle(place.end, 1, receipt.time_ms);
            }
        }
        self.gauges.unsettled.sub_journalled(journalled);
        self.gauges.unsettled.sub(receipts.len() - journalled);
    }

    /// How long until the next transaction may start.
    fn wait(&self) -> Duration {
        let since = self.started.map_or(Duration::MAX, |started| started.elapsed());
        let pause = match self.failures {
            0 if self.pending.len() >= TRANSACTION_MAX || (self.readable && !self.cold.is_empty()) => {
                Duration::ZERO
            }
            0 => self.pace.every,
            failures => {
                let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                self.pace.pause_min.saturating_mul(factor).min(self.pace.pause_max)
            }
        };
        pause.saturating_sub(since)
    }

    /// What goes next, if there is something that can be had just now.
    fn next(&mut self) -> Option<Transaction> {
        let read = cold::next(&mut self.cold, &self.gauges.journal, TRANSACTION_MAX);
        self.readable = read.is_some();
        read.or_else(|| {
            let count = self.pending.len().min(TRANSACTION_MAX);
            let receipts: Vec<_> = self.pending.drain(..count).collect();
            (count > 0).then_some(Transaction { receipts, read: None })
        })
    }

    /// Runs one transaction beside the mailbox.
    fn start(&mut self, billing: &Addr<Billing>) {
        let next = match self.transaction.take() {
            Some(again) => Some(again),
            None => self.next().map(Arc::new),
        };
        let Some(transaction) = next else {
            self.state = State::Idle;
            if !self.cold.is_empty() {
                self.later(self.pace.every, billing);
            }
            return;
        };
        self.transaction = Some(Arc::clone(&transaction));
        let (billing, deadline) = (billing.clone(), self.pace.deadline);
        let ledger = Arc::clone(&self.ledger);
        self.state = State::Running;
        self.started = Some(Instant::now());
        actix_rt::spawn(async move {
            let settle = AssertUnwindSafe(ledger.settle(&transaction.receipts)).catch_unwind();
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
        let running = self.transaction.iter().flat_map(|transaction| &transaction.receipts);
        let receipts = self.pending.iter().chain(running).filter(|receipt| receipt.place.is_none()).count();
        if receipts > 0 {
            error!(receipts, "receipts could not be settled and are lost to the ledger");
        }
    }
}
