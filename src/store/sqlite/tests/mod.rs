//! The embedded store against real files.

mod groups;
mod idempotency;
mod keys;
mod ledger;
mod open;
