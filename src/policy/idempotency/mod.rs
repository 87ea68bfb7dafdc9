//! Requests that carry a key of their client's: the same request again is the same answer, not another one.
//!
//! A [`Table`] knows which keys run and which are answered. The first request of a key leads: what it is answered goes
//! into a log, which it and everybody else who sends the same request reads, each at its own pace. Time is a
//! parameter; whoever writes a log and whoever reads it wait for each other, and for nothing else.
//!
//! Invariants: one tenant's key never meets another's; a key has one leader at a time; a key with another request is
//! refused; only answers that are complete and good are kept; entries and bytes are bounded, the oldest answers go
//! first and running ones never; a leader that is dropped ends its log, and its key is free again.

mod log;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

pub use log::{Over, Read, Reader};
pub use table::{Begun, Lead, Rules, Table};

/// SHA-256 of something.
pub type Digest = [u8; 32];

/// How an answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// Headers that every one who gets the answer gets, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body, where they were known from the start; else it is a stream.
    pub length: Option<u64>,
    /// Id of the request that was answered first: the ledger has it.
    pub request_id: Arc<str>,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it begins.
    pub head: Arc<Head>,
    /// The rest.
    pub body: Bytes,
}

/// The name that a tenant's key has here and in the store. Both parts go in with their lengths: no two pairs are alike.
pub fn name(tenant: &str, key: &str) -> Digest {
    digest(&[tenant.as_bytes(), key.as_bytes()])
}

/// What makes two requests the same.
pub fn fingerprint(parts: &[&[u8]]) -> Digest {
    digest(parts)
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}
