//! Budgets: how much money a key, a project or a set of tags may spend in a period.
//!
//! The price of an attempt is reserved before it is sent and settled after it ended; a [`Hold`] releases what was not
//! settled when it drops, on every exit.
//!
//! Invariants: an attempt is held under all of its budgets or under none; an idle process has nothing reserved; money
//! is an integer; nothing here blocks, and no lock is held across an await.

mod bound;
mod calendar;
mod hold;
mod learned;
mod purse;
#[cfg(test)]
mod tests;

use crate::money::Usd;

pub use bound::{Bound, STEP_TOKENS, Size};
pub use calendar::{Calendar, Window};
pub use hold::Hold;
pub use learned::Learned;
pub use purse::{Count, Exhausted, Purse, Standing, Unseeded};

/// How often a budget begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// At midnight.
    Day,
    /// At midnight before Monday.
    Week,
    /// At midnight before the first of the month.
    Month,
    /// Never.
    Total,
}

impl Period {
    /// The words of the API.
    pub const WORDS: [&'static str; 4] = ["day", "week", "month", "total"];

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The reverse of [`Period::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month, Self::Total].into_iter().find(|period| period.as_str() == word)
    }
}

/// Percentages of a budget at which somebody is told, when nobody says.
pub const ALERTS: [u8; 2] = [80, 100];
/// Percentages of one budget at most.
pub const ALERTS_MAX: usize = 8;

/// How much may be spent, and what happens on the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In each period. Above zero.
    pub limit: Usd,
    /// How often it begins anew.
    pub period: Period,
    /// Only tell; refuse nothing.
    pub soft: bool,
    /// Percentages of the limit at which somebody is told, ascending, 1 to 100 each.
    pub alerts: Vec<u8>,
}

impl Budget {
    /// A hard budget that tells at the usual percentages.
    pub fn new(limit: Usd, period: Period) -> Self {
        Self { limit, period, soft: false, alerts: ALERTS.to_vec() }
    }
}
