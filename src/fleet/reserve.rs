//! Reserving out of leases: what is in hand first, then Redis, within a deadline.
//!
//! Invariant: nobody is told that a budget is spent unless Redis said so: what this replica does not know is no refusal.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::Fleet;
use super::budgets::{Payer, State, Sum, Sums, now_ms};
use super::lease::nanos_up;
use crate::error::Error;
use crate::policy::budget::{Exhausted, Window};

/// What a call waits before it asks again, when others were faster.
const AGAIN: Duration = Duration::from_millis(4);
/// After a refusal a budget is not asked for as much again before this.
pub(super) const REFUSED_MS: i64 = 250;

/// The last refusal of Redis: how much was not left, and until when that is taken for its word, milliseconds since the
/// epoch.
#[derive(Debug, Default)]
pub(super) struct Refused(std::sync::Mutex<(i64, i64)>);

impl Refused {
    pub(super) fn note(&self, wanted: i64, until_ms: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (wanted, until_ms);
    }

    /// True when as much as this, or less, was refused lately.
    fn holds(&self, wanted: i64, now_ms: i64) -> bool {
        let (refused, until_ms) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted >= refused && (1..=REFUSED_MS).contains(&(until_ms - now_ms))
    }
}

/// Why money is not reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Redis says, or the limit itself, that it is not left.
    Spent(Exhausted),
    /// This replica has not enough in hand, and cannot tell what is left just now.
    Unknown(Exhausted),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Spent(exhausted) => exhausted.into(),
            Refusal::Unknown(exhausted) => Self::Overloaded {
                message: format!(
                    "What is left of the budget of {} cannot be told just now; try again shortly.",
                    exhausted.owner
                ),
                retry_after: Duration::from_secs(1),
            },
        }
    }
}

/// What came of asking, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// Asking again helps nobody now: Redis is gone, or the lease is being built.
    Useless,
    /// Redis answered, and gave nothing more: others were faster, or it is not left.
    Nothing,
    /// More is in hand.
    More,
}

/// The ledger, as a tick left it.
struct AsOfTheTick {
    settled_ms: i64,
}

impl Sums for AsOfTheTick {
    fn spent<'a>(&'a self, _: &'a str, _: Window) -> Sum<'a> {
        Box::pin(async { None })
    }

    fn settled_ms(&self) -> i64 {
        self.settled_ms
    }
}

impl Fleet {
    /// Reserves money that the budgets of `payers` must all allow, asking Redis when what is in hand does not suffice.
    ///
    /// # Errors
    /// The first budget that does not allow it.
    pub async fn reserve<T>(
        &self,
        payers: &[Payer],
        sums: &dyn Sums,
        attempt: impl Fn() -> Result<T, Exhausted>,
    ) -> Result<T, Refusal> {
        let deadline = Instant::now() + self.0.setup.timeout;
        loop {
            let exhausted = match attempt() {
                Ok(held) => return Ok(held),
                Err(exhausted) => exhausted,
            };
            let wanted = nanos_up(exhausted.wanted);
            if payers.iter().any(|payer| self.was_refused(payer, wanted)) {
                return Err(Refusal::Spent(exhausted));
            }
            let asks = payers.iter().map(|payer| self.ask(payer, sums));
            let Ok(asked) = timeout_at(deadline, futures_util::future::join_all(asks)).await else {
                return attempt().map_err(Refusal::Unknown);
            };
            match asked.into_iter().max() {
                // Something came of it, or others are asking, too.
                Some(Asked::More) => {}
                Some(Asked::Nothing) if Instant::now() + AGAIN < deadline => sleep(AGAIN).await,
                _ => {
                    let lately = || payers.iter().any(|payer| self.was_refused(payer, wanted));
                    return attempt().map_err(|exhausted| match lately() {
                        true => Refusal::Spent(exhausted),
                        false => Refusal::Unknown(exhausted),
                    });
                }
            }
        }
    }

    /// True when Redis said lately that as much as this is not left.
    fn was_refused(&self, payer: &str, wanted: i64) -> bool {
        self.0.budgets.leases.get(payer).is_some_and(|it| it.refused.holds(wanted, now_ms()))
    }

    /// True when every shared budget has a lease that more can be had for.
    pub fn knows_what_is_left(&self) -> bool {
        let open = |state: &Mutex<State>| state.try_lock().is_ok_and(|state| state.lease.is_open());
        let mut leases = self.0.budgets.leases.iter();
        leases.all(|it| it.purse.count(now_ms()).is_none() || open(&it.state))
    }

    /// As [`Fleet::reserve`], for those who do not know the ledger: it counts as settled as it was at the last tick.
    ///
    /// # Errors
    /// The first budget that does not allow it.
    pub async fn reserve_by_the_tick<T>(
        &self,
        payers: &[Payer],
        attempt: impl Fn() -> Result<T, Exhausted>,
    ) -> Result<T, Refusal> {
        let settled_ms = self.0.budgets.settled_ms.load(Ordering::Relaxed);
        self.reserve(payers, &AsOfTheTick { settled_ms }, attempt).await
    }

    /// Asks for what a call was refused.
    async fn ask(&self, payer: &Payer, sums: &dyn Sums) -> Asked {
        let Some((purse, state)) =
            self.0.budgets.leases.get(payer).map(|it| (Arc::clone(&it.purse), Arc::clone(&it.state)))
        else {
            return Asked::Useless;
        };
        let state = state.lock_owned().await;
        let before = state.lease.have();
        let settled_ms = sums.settled_ms();
        let Some(sent) = self.prepare(payer, &purse, state, settled_ms, true) else { return Asked::Useless };
        let answer = self.0.link.call(&self.lease_call(&sent)).await;
        let (answered, open) = (answer.is_ok(), sent.state.lease.is_open());
        match self.take(sent, answer) {
            have if have > before => Asked::More,
            _ if answered && open => Asked::Nothing,
            _ => Asked::Useless,
        }
    }
}
