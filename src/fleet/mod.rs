//! What replicas share over Redis: leased budgets, leased quotas, word of changed keys.
//!
//! Per budget and period Redis keeps one hash: what the ledger says was spent (`base`), and per replica what it may spend
//! in all (`have`), has spent, and has settled in the ledger. What is left is the limit less the base and everybody's
//! `have`. A replica reports absolute, numbered amounts and is granted more in the same script ([`lease`]), so that a
//! report that is lost, late or repeated counts once. Nobody waits for Redis on a request's path but for a call that a
//! lease in hand does not cover, and for that no longer than `redis.timeout`.
//!
//! What is kept in Redis may go: it is flushed, put back to an old snapshot, or fails over to a server that had not heard
//! the last writes. A hash that is missing, older than known, or kept by another server process is rebuilt: nothing is
//! granted until everybody had the time to tell what it holds; then one replica reads the ledger and writes the base.
//! The sum is read after the amounts settled were told, so that what is settled in between counts twice for a moment
//! and never not at all.
//!
//! The bound. With Redis and the replicas alive, no more is sold than the limit. Beyond it can be sold: what a replica
//! holds that is cut off from Redis while that forgets and is rebuilt; what one that died had not settled when that
//! happens; with `on_loss: local_share` the share that each takes while Redis is gone.

pub mod address;
pub mod lease;
pub mod link;
pub mod script;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
