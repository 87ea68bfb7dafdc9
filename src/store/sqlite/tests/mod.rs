//! The embedded store against real files.

mod keys;
mod ledger;
mod open;
