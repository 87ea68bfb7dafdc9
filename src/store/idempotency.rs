//! Idempotency keys as the store holds them: who answers a key, and the answer.
//!
//! One row per key. It is running until its answer is there, and in force until its lease ends: a process extends the
//! leases of all its rows while it lives, so that the keys of one that died are free soon, and nobody's for longer
//! than the request may take. Replicas' clocks are taken to differ by less than a lease.

use std::sync::Arc;

use ulid::Ulid;

use crate::policy::idempotency::{Answer, Digest};

/// An answer to store.
pub type Stored = Arc<Answer>;

/// A request that wants to run under its key.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Digest of tenant and key.
    pub name: Digest,
    /// Digest of what was asked.
    pub fingerprint: Digest,
    /// The API key that asks: for the operator's eyes.
    pub key_id: Arc<str>,
    /// The process that claims; another one after every start.
    pub owner: Arc<str>,
    /// This claim.
    pub token: Ulid,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// Until when the claim holds if its owner is not heard of again.
    pub lease_ms: i64,
    /// Until when it holds at most.
    pub deadline_ms: i64,
}

/// What a key's row says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It may run.
    Mine,
    /// The same request runs elsewhere.
    Running,
    /// The same request was answered; until when that is kept, milliseconds since the epoch.
    Done(Stored, i64),
    /// The same request was answered, with more than is kept.
    NotKept,
    /// The key was used for another request.
    Other,
}
