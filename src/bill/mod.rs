//! A provider's bill: read from an export, and held against the sums of the ledger. Pure.
//!
//! Invariants: money is summed exactly as it is written in the bill, digits below the ledger's included; what a bill
//! does not tell (tokens, costs, models) is not compared, and never taken for zero.

mod amount;
mod columns;
mod compare;
mod names;
mod read;
mod table;

pub use amount::Amount;
pub use compare::{Difference, Measure, Report, Sums, Tolerance, Totals, compare, without_models};
pub use names::canonical;
pub use read::{Bill, BillError, read};
pub use table::{day_text, render};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * crate::rfc3339::HOUR_MS;

/// Stands for the model of what a bill books under none.
pub const NO_MODEL: &str = "(none)";

/// Stands for all models together, where a bill tells none.
pub const ALL_MODELS: &str = "(all)";
