//! The leases of this process's budgets: looked at every tick, asked for at once when a call lacks money.
//!
//! Invariants: one report of a lease is on its way at a time; a purse is told of a lower ceiling before Redis is; jobs
//! (reading the ledger for a rebuild) run beside the ticks, with a deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::timeout;

use super::lease::{Answer, Lease, Report, Use, from_nanos, nanos_down, nanos_up};
use super::link::Lost;
use super::reserve::{REFUSED_MS, Refused};
use super::script::{Call, DEPARTED, LEASE, SEED, numbers, word};
use super::{ALIVE_MS, Fleet, OnLoss};
use crate::money::Usd;
use crate::policy::budget::{Count, Purse, Window};

/// How long everybody gets to tell what it holds, before a rebuild reads the ledger.
const RIPE_MS: i64 = 1_500;
/// In a period that has just begun nobody can hold much: its first lease need not wait.
const YOUNG_MS: i64 = 60_000;
/// How long a job may take before another replica gets it.
const JOB_MS: i64 = 5_000;
/// How long reading the ledger may take.
const SUMS_DEADLINE: Duration = Duration::from_secs(4);
/// How often the base is read anew.
const DUE_MS: i64 = 30_000;
/// A replica that is silent for so long has told the ledger all it ever will.
const FORGET_MS: i64 = 3_600_000;
/// How long a budget that nobody uses is kept in Redis.
const LIFE_MS: i64 = 2 * 86_400_000;
/// Leases in one round trip at a tick.
const TICK_CALLS: usize = 500;
/// Jobs that wait; another one goes to another replica.
const JOBS_MAX: usize = 4_096;
/// Processes that are gone, of which it is said to every budget.
const GONE_MAX: usize = 256;
/// The purse of a budget, as the fleet sees it.
pub trait Allowance: Send + Sync {
    /// What it counts itself; `None` while there is no budget that refuses.
    fn count(&self, now_ms: i64) -> Option<Count>;
    /// The largest reservation that was refused since this was last asked.
    fn wanted(&self) -> Usd;
    /// What this process may spend in the period, in all since the purse began to count.
    fn grant(&self, window: Window, total: Usd);
}

impl Allowance for Purse {
    fn count(&self, now_ms: i64) -> Option<Count> {
        self.count(now_ms)
    }

    fn wanted(&self) -> Usd {
        self.wanted()
    }

    fn grant(&self, window: Window, total: Usd) {
        self.grant(window, Some(total));
    }
}

/// An answer of the ledger.
pub type Sum<'a> = Pin<Box<dyn Future<Output = Option<Usd>> + Send + 'a>>;

/// What the ledger knows.
pub trait Sums: Send + Sync {
    /// What was charged to a payer in a period; `None`: it cannot be read now.
    fn spent<'a>(&'a self, payer: &'a str, window: Window) -> Sum<'a>;
    /// Everything this process booked before is in the ledger, milliseconds since the epoch.
    fn settled_ms(&self) -> i64;
}

/// Whose budget it is: a name without spaces or braces, the same on all replicas, e.g. `key/01J...`.
pub type Payer = Arc<str>;

/// What this process could spend without Redis knowing, were that to forget all: the bound of the overspend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Granted and not spent.
    pub in_hand: Usd,
    /// Taken without Redis.
    pub shared: Usd,
}

pub(super) struct Ledger {
    pub(super) purse: Arc<dyn Allowance>,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) refused: Arc<Refused>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) lease: Lease,
    /// The period and the purse's beginning that the lease is of.
    of: Option<(Window, i64)>,
}

/// Something to do for a budget beside the ticks.
struct Job {
    payer: Payer,
    window: Window,
    task: Task,
}

enum Task {
    /// To read the ledger, for the job of this token.
    Seed(String),
    /// To say who is gone.
    Bury,
}

/// The budgets of this process.
pub(super) struct Budgets {
    pub(super) leases: DashMap<Payer, Ledger>,
    jobs: mpsc::Sender<Job>,
    waiting: Mutex<mpsc::Receiver<Job>>,
    /// Processes that are gone and settled; the last ones.
    gone: std::sync::Mutex<Vec<String>>,
    in_hand: AtomicI64,
    shared: AtomicI64,
    /// What the ledger was settled to at the last tick.
    pub(super) settled_ms: AtomicI64,
}

impl Default for Budgets {
    fn default() -> Self {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        Self {
            leases: DashMap::new(),
            jobs,
            waiting: Mutex::new(waiting),
            gone: std::sync::Mutex::default(),
            in_hand: AtomicI64::new(0),
            shared: AtomicI64::new(0),
            settled_ms: AtomicI64::new(0),
        }
    }
}

/// A report on its way, with the right to send it.
pub(super) struct Sent {
    payer: Payer,
    purse: Arc<dyn Allowance>,
    pub(super) state: OwnedMutexGuard<State>,
    window: Window,
    report: Report,
    /// The largest reservation that waits for it.
    wanted: i64,
}

impl Fleet {
    /// Shares a budget from here on: until something is granted, nothing can be reserved. Twice is once.
    pub fn share_budget(&self, payer: Payer, purse: Arc<dyn Allowance>) {
        let leases = &self.0.budgets.leases;
        let known = leases.get(&payer).filter(|it| Arc::ptr_eq(&it.purse, &purse));
        let known = known.map(|it| Arc::clone(&it.state));
        // One that refused nothing before has no lease either.
        let has_lease =
            known.as_ref().is_some_and(|state| state.try_lock().map_or(true, |state| state.of.is_some()));
        if !has_lease && let Some(count) = purse.count(now_ms()) {
            purse.grant(count.window, Usd::ZERO);
        }
        if known.is_none() {
            leases.insert(payer, Ledger { purse, state: Arc::default(), refused: Arc::default() });
        }
    }

    /// Does not share it any longer.
    pub fn drop_budget(&self, payer: &str) {
        self.0.budgets.leases.remove(payer);
    }

    /// Looks at all leases; whatever is due goes in few round trips.
    pub(super) async fn tick_budgets(&self, sums: &dyn Sums) {
        let settled_ms = sums.settled_ms();
        self.0.budgets.settled_ms.store(settled_ms, Ordering::Relaxed);
        let known: Vec<_> = self
            .0
            .budgets
            .leases
            .iter()
            .map(|it| (Arc::clone(it.key()), Arc::clone(&it.purse), Arc::clone(&it.state)))
            .collect();
        let (mut in_hand, mut shared) = (0_i64, 0_i64);
        for some in known.chunks(TICK_CALLS) {
            let mut due = Vec::new();
            for (payer, purse, state) in some {
                // A call is asking already.
                let Ok(state) = Arc::clone(state).try_lock_owned() else { continue };
                due.extend(self.prepare(payer, purse, state, settled_ms, false));
            }
            let calls: Vec<Call> = due.iter().map(|sent| self.lease_call(sent)).collect();
            let answers = if calls.is_empty() { Vec::new() } else { self.0.link.batch(&calls).await };
            for (sent, answer) in due.into_iter().zip(answers) {
                self.take(sent, answer);
            }
            for (_, purse, state) in some {
                let Ok(state) = state.try_lock() else { continue };
                let spent = purse.count(now_ms()).map_or(0, |count| nanos_up(count.spent));
                in_hand = in_hand.saturating_add(state.lease.have().saturating_sub(spent).max(0));
                shared = shared.saturating_add(state.lease.share());
            }
        }
        self.0.budgets.in_hand.store(in_hand, Ordering::Relaxed);
        self.0.budgets.shared.store(shared, Ordering::Relaxed);
    }

    /// What this process could spend without Redis knowing, at the last tick.
    pub fn exposure(&self) -> Exposure {
        Exposure {
            in_hand: from_nanos(self.0.budgets.in_hand.load(Ordering::Relaxed)),
            shared: from_nanos(self.0.budgets.shared.load(Ordering::Relaxed)),
        }
    }

    /// All that the process `boot` ever booked is in the ledger, and it is gone: what it held comes back. Every budget is
    /// told when its lease is next reported anew; twice is once.
    pub fn departed(&self, boot: &str) {
        let mut gone = self.0.budgets.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.iter().any(|known| known == boot) {
            return;
        }
        if gone.len() >= GONE_MAX {
            gone.remove(0);
        }
        gone.push(boot.to_owned());
        drop(gone);
        let now = now_ms();
        for it in &self.0.budgets.leases {
            if let Some(count) = it.purse.count(now) {
                self.later(it.key(), count.window, Task::Bury);
            }
        }
    }

    /// Has something done; one that finds no place is another replica's, or waits for the next rebuild.
    fn later(&self, payer: &Payer, window: Window, task: Task) {
        let _ = self.0.budgets.jobs.try_send(Job { payer: Arc::clone(payer), window, task });
    }

    /// Gives back all that is held; what was spent is in the ledger.
    pub(super) async fn give_back_budgets(&self, now_ms: i64) {
        let known: Vec<_> = self
            .0
            .budgets
            .leases
            .iter()
            .map(|it| (Arc::clone(it.key()), Arc::clone(&it.purse), Arc::clone(&it.state)))
            .collect();
        for some in known.chunks(TICK_CALLS) {
            let mut due = Vec::new();
            for (payer, purse, state) in some {
                let Ok(mut state) = Arc::clone(state).try_lock_owned() else { continue };
                let Some(count) = purse.count(now_ms).filter(|count| state.of == Some(beginning(count)))
                else {
                    continue;
                };
                purse.grant(count.window, Usd::ZERO);
                let used = Use { wanted: 0, ..usage(&count) };
                state.lease.settle_all(used);
                state.lease.keep(0, used);
                let report = state.lease.report(used, now_ms);
                let report = Report { want: 0, need: 0, ..report };
                let (payer, purse) = (Arc::clone(payer), Arc::clone(purse));
                due.push(Sent { payer, purse, state, window: count.window, report, wanted: 0 });
            }
            let calls: Vec<Call> = due.iter().map(|sent| self.lease_call(sent)).collect();
            let _ = self.0.link.batch(&calls).await;
        }
    }

    /// Looks at a purse, lowers its ceiling where that is too high, and makes a report if one is due.
    pub(super) fn prepare(
        &self,
        payer: &Payer,
        purse: &Arc<dyn Allowance>,
        mut state: OwnedMutexGuard<State>,
        settled_ms: i64,
        at_once: bool,
    ) -> Option<Sent> {
        let now = now_ms();
        let mut count = purse.count(now)?;
        if state.of != Some(beginning(&count)) {
            *state = State { of: Some(beginning(&count)), ..State::default() };
            if let Some(it) = self.0.budgets.leases.get(payer) {
                it.refused.note(0, 0);
            }
            purse.grant(count.window, Usd::ZERO);
        }
        let mut used = Use { wanted: nanos_up(purse.wanted()), ..usage(&count) };
        state.lease.observe(used, settled_ms, now);
        if let Some(ceiling) = state.lease.lower(used, now) {
            purse.grant(count.window, from_nanos(ceiling));
            // Whoever reserved before that is let keep it.
            count = purse.count(now).filter(|again| again.window == count.window)?;
            used = Use { wanted: used.wanted, ..usage(&count) };
            let kept = state.lease.keep(ceiling, used);
            purse.grant(count.window, from_nanos(kept));
        }
        if !at_once && !state.lease.is_due(used, now) {
            return None;
        }
        if !self.0.link.is_up() {
            if self.0.setup.on_loss == OnLoss::LocalShare && used.wanted > 0 {
                let have = state.lease.take_share();
                purse.grant(count.window, from_nanos(have));
            }
            return None;
        }
        let report = state.lease.report(used, now);
        let (payer, purse) = (Arc::clone(payer), Arc::clone(purse));
        Some(Sent { payer, purse, state, window: count.window, report, wanted: used.wanted })
    }

    /// Takes an answer over; gives what may be spent in all.
    pub(super) fn take(&self, mut sent: Sent, answer: Result<redis::Value, Lost>) -> i64 {
        let Ok(answer) = answer else { return sent.state.lease.have() };
        let said = numbers(&answer);
        let at = |at: usize| said.get(at).copied().unwrap_or(0);
        let status = word(&answer, 0);
        if status == "stale" || said.len() < 10 {
            return sent.state.lease.have();
        }
        let open = status == "open";
        let (generation, have, left, live, scarce) = (at(1), at(2), at(3), at(4), at(5) == 1);
        let answer_now = Answer { generation, have, left, live, scarce, open };
        let report = sent.report;
        let ceiling = sent.state.lease.answered(&report, answer_now, now_ms());
        // What may count twice yet is no reason to call it spent.
        let most = (have - report.have).saturating_add(left).saturating_add(at(9));
        if open
            && report.need > most
            && let Some(it) = self.0.budgets.leases.get(&sent.payer)
        {
            it.refused.note(sent.wanted, now_ms() + REFUSED_MS);
        }
        sent.purse.grant(sent.window, from_nanos(ceiling));
        let token = word(&answer, 6);
        if !token.is_empty() {
            self.later(&sent.payer, sent.window, Task::Seed(token));
        }
        if generation != report.generation {
            self.later(&sent.payer, sent.window, Task::Bury);
        }
        ceiling
    }

    /// Does the jobs that this replica was given, for ever.
    pub(super) async fn work(&self, sums: &dyn Sums) {
        let mut waiting = self.0.budgets.waiting.lock().await;
        while let Some(job) = waiting.recv().await {
            match &job.task {
                Task::Seed(token) => self.seed(&job, token, sums).await,
                Task::Bury => self.bury(&job).await,
            }
        }
    }

    async fn seed(&self, job: &Job, token: &str, sums: &dyn Sums) {
        let sum = timeout(SUMS_DEADLINE, sums.spent(&job.payer, job.window)).await.ok().flatten();
        let Some(sum) = sum else {
            tracing::warn!(
                payer = &*job.payer,
                "what a budget has spent cannot be read; no lease is granted"
            );
            return;
        };
        let call = Call::new(&SEED, self.key(&job.payer, job.window)).text(token);
        let _ = self.0.link.call(&call.number(nanos_up(sum))).await;
    }

    async fn bury(&self, job: &Job) {
        let gone = self.0.budgets.gone.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let call = |boot: &String| Call::new(&DEPARTED, self.key(&job.payer, job.window)).text(boot);
        let calls: Vec<Call> = gone.iter().map(call).collect();
        if !calls.is_empty() {
            let _ = self.0.link.batch(&calls).await;
        }
    }

    fn key(&self, payer: &str, window: Window) -> String {
        format!("{}:b:{{{payer}}}:{}", self.0.setup.prefix, window.start_ms)
    }

    pub(super) fn lease_call(&self, sent: &Sent) -> Call {
        let since = sent.state.of.map_or(0, |(_, since_ms)| since_ms);
        let limit = sent.purse.count(now_ms()).map_or(0, |count| nanos_down(count.limit));
        let Report { seq, generation, acked, have, spent, settled, want, need } = sent.report;
        let numbers = [seq, generation, acked, have, spent, settled, want, need, limit];
        let young = (0..YOUNG_MS).contains(&(now_ms() - sent.window.start_ms));
        let ripe = if young || self.is_alone() { 0 } else { RIPE_MS };
        let delays = [ALIVE_MS, ripe, JOB_MS, DUE_MS, FORGET_MS, LIFE_MS];
        let call = Call::new(&LEASE, self.key(&sent.payer, sent.window));
        let call = call.text(&format!("{}.{since}", self.0.setup.boot));
        numbers.into_iter().chain(delays).fold(call, Call::number)
    }
}

/// What a lease is of: another beginning needs another lease.
fn beginning(count: &Count) -> (Window, i64) {
    (count.window, count.since_ms)
}

fn usage(count: &Count) -> Use {
    Use { spent: nanos_up(count.spent), reserved: nanos_up(count.reserved), wanted: 0 }
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
