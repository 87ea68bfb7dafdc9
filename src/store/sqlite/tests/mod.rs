//! The embedded store against real files.

mod idempotency;
mod keys;
mod ledger;
mod open;
