//! The embedded store against real files.

mod groups;
mod keys;
mod ledger;
mod open;
