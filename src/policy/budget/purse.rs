//! One budget's money in this process: what was spent, what is reserved, what may still be reserved.
//!
//! Everybody who is charged has a purse, with a budget or without, so that a budget that comes later charges the calls
//! that run already. What was spent before the purse began to count is read from the ledger ([`Purse::seed`]); what was
//! spent since it counts itself, by the time on the receipt, so that each receipt is counted on one side.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Budget, Calendar, Learned, Window};
use crate::error::Error;
use crate::money::Usd;
use crate::rfc3339::format_ms;

/// A reservation that a budget does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Whose budget it is, in words.
    pub owner: Arc<str>,
    /// The budget.
    pub budget: Budget,
    /// What was to be reserved.
    pub wanted: Usd,
    /// What is left.
    pub left: Usd,
    /// When it begins anew; `None`: never.
    pub until_ms: Option<i64>,
}

impl From<Exhausted> for Error {
    fn from(exhausted: Exhausted) -> Self {
        let Exhausted { owner, budget, wanted, left, until_ms } = exhausted;
        let (limit, period) = (budget.limit, budget.period.as_str());
        let per = if period == "total" { "in total".to_owned() } else { format!("per {period}") };
        let until = until_ms.map_or_else(String::new, |ms| format!(" It begins anew at {}.", format_ms(ms)));
        let message = if left <= Usd::ZERO {
            format!(
                "The budget of {owner} is spent: {limit} USD {per}.{until} Ask your operator for a higher one."
            )
        } else {
            format!(
                "This request may cost {wanted} USD, and {left} USD are left of the budget of {owner} ({limit} USD \
                 {per}).{until} Lower max_tokens, shorten the messages, or ask your operator for a higher one."
            )
        };
        Self::BudgetExceeded(message)
    }
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The budget.
    pub budget: Budget,
    /// The period that runs.
    pub window: Window,
    /// Spent in it, as far as this process knows.
    pub spent: Usd,
    /// Reserved by calls that run here.
    pub reserved: Usd,
    /// What this process may still reserve.
    pub left: Usd,
}

/// What a purse counts itself, for the fleet that shares its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The period that runs.
    pub window: Window,
    /// It counts what is charged from here on.
    pub since_ms: i64,
    /// What may be spent in the period by everybody.
    pub limit: Usd,
    /// Spent in the period since then.
    pub spent: Usd,
    /// Held by calls that run.
    pub reserved: Usd,
}

/// What is to be read from the ledger for a purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unseeded {
    /// The period.
    pub window: Window,
    /// The purse counts what is charged from here on.
    pub since_ms: i64,
}

#[derive(Debug)]
struct State {
    budget: Option<Budget>,
    window: Window,
    /// From here on this purse counts.
    since_ms: i64,
    /// Spent in the period before that.
    base: i64,
    /// The base is not going to change.
    seeded: bool,
    /// Spent in the period since.
    spent: i64,
    /// Held by calls that run.
    reserved: i64,
    /// What this process may spend of the period since then, where a fleet shares the budget.
    granted: Option<i64>,
    /// The largest reservation refused since somebody asked.
    wanted: i64,
}

/// One budget's money in this process.
#[derive(Debug)]
pub struct Purse {
    owner: Arc<str>,
    calendar: Arc<Calendar>,
    learned: Learned,
    state: Mutex<State>,
}

impl Purse {
    /// An empty one. `owner` in words for people: "this key", "the project `search`".
    pub fn new(owner: Arc<str>, calendar: Arc<Calendar>) -> Arc<Self> {
        let state = State {
            budget: None,
            window: Window::ALWAYS,
            since_ms: 0,
            base: 0,
            seeded: true,
            spent: 0,
            reserved: 0,
            granted: None,
            wanted: 0,
        };
        Arc::new(Self { owner, calendar, learned: Learned::default(), state: Mutex::new(state) })
    }

    /// Whose it is.
    pub fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// How long its answers usually are.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Puts a budget in force, or takes it away. With another period it counts anew, from now on and from the ledger.
    pub fn set(&self, budget: Option<Budget>, now_ms: i64) {
        let mut state = self.lock();
        let anew = budget.as_ref().map(|new| new.period) != state.budget.as_ref().map(|old| old.period);
        if anew && let Some(budget) = &budget {
            state.window = self.calendar.window(budget.period, now_ms);
            state.since_ms = now_ms.saturating_add(1);
            (state.base, state.spent, state.wanted) = (0, 0, 0);
            state.seeded = false;
            state.granted = state.granted.map(|_| 0);
        }
        state.budget = budget;
    }

    /// True when it limits or tells.
    pub fn has_budget(&self) -> bool {
        self.lock().budget.is_some()
    }

    /// What must be read from the ledger: what was charged from the start of the period to before `since_ms`.
    pub fn unseeded(&self) -> Option<Unseeded> {
        let state = self.lock();
        let open = state.budget.is_some() && !state.seeded;
        open.then_some(Unseeded { window: state.window, since_ms: state.since_ms })
    }

    /// What the ledger said. `last`: everything charged before `since_ms` is in it. Another period's answer is ignored.
    pub fn seed(&self, asked: Unseeded, spent: Usd, last: bool) {
        let mut state = self.lock();
        if (state.window, state.since_ms) == (asked.window, asked.since_ms) {
            state.base = spent.units();
            state.seeded = last;
        }
    }

    /// What this process may spend in the period, in all since [`Purse::unseeded`]'s moment: the fleet's word. `None`
    /// makes the limit itself count again. Another period's word is ignored.
    pub fn grant(&self, window: Window, granted: Option<Usd>) {
        let mut state = self.lock();
        if state.window == window {
            state.granted = granted.map(Usd::units);
        }
    }

    /// The largest reservation that was refused since this was last asked.
    pub fn wanted(&self) -> Usd {
        Usd::from_units(std::mem::take(&mut self.lock().wanted))
    }

    /// How the budget stands; `None` without one.
    pub fn standing(&self, now_ms: i64) -> Option<Standing> {
        let mut state = self.lock();
        self.roll(&mut state, now_ms);
        let budget = state.budget.clone()?;
        Some(Standing {
            window: state.window,
            spent: Usd::from_units(state.base.saturating_add(state.spent)),
            reserved: Usd::from_units(state.reserved),
            left: Usd::from_units(left(&state, &budget)),
            budget,
        })
    }

    /// What it counts itself; `None` without a budget that refuses.
    pub fn count(&self, now_ms: i64) -> Option<Count> {
        let mut state = self.lock();
        self.roll(&mut state, now_ms);
        let budget = state.budget.as_ref().filter(|budget| !budget.soft)?;
        Some(Count {
            window: state.window,
            since_ms: state.since_ms,
            limit: budget.limit,
            spent: Usd::from_units(state.spent),
            reserved: Usd::from_units(state.reserved),
        })
    }

    /// Reserved by calls that run, whether there is a budget or not.
    pub fn reserved(&self) -> Usd {
        Usd::from_units(self.lock().reserved)
    }

    /// Sets money aside.
    pub(super) fn reserve(&self, amount: Usd, now_ms: i64) -> Result<(), Exhausted> {
        let mut state = self.lock();
        self.roll(&mut state, now_ms);
        if let Some(budget) = state.budget.clone().filter(|budget| !budget.soft) {
            let left = left(&state, &budget);
            // Not even what costs nothing, once all is spent: its price may be unknown.
            if left <= 0 || amount.units() > left {
                state.wanted = state.wanted.max(amount.units());
                let until_ms = Some(state.window.end_ms).filter(|_| state.window != Window::ALWAYS);
                let (owner, left) = (Arc::clone(&self.owner), Usd::from_units(left));
                return Err(Exhausted { owner, budget, wanted: amount, left, until_ms });
            }
        }
        state.reserved = state.reserved.saturating_add(amount.units());
        Ok(())
    }

    /// Gives back what was set aside and counts what was charged at `time_ms`.
    pub(super) fn settle(&self, reserved: Usd, charged: Usd, time_ms: i64) {
        let mut state = self.lock();
        self.roll(&mut state, time_ms);
        state.reserved = state.reserved.saturating_sub(reserved.units()).max(0);
        if state.budget.is_some() && time_ms >= state.since_ms && state.window.holds(time_ms) {
            state.spent = state.spent.saturating_add(charged.units());
        }
    }

    /// Begins the period that a moment lies in, if that is a later one.
    fn roll(&self, state: &mut State, now_ms: i64) {
        let Some(budget) = state.budget.as_ref().filter(|_| now_ms >= state.window.end_ms) else { return };
        state.window = self.calendar.window(budget.period, now_ms);
        // All of it is counted here: nothing was charged in it before.
        state.since_ms = state.window.start_ms;
        (state.base, state.spent, state.wanted) = (0, 0, 0);
        state.seeded = true;
        state.granted = state.granted.map(|_| 0);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What may still be reserved.
fn left(state: &State, budget: &Budget) -> i64 {
    let may = state.granted.unwrap_or_else(|| budget.limit.units().saturating_sub(state.base));
    may.saturating_sub(state.spent).saturating_sub(state.reserved)
}
