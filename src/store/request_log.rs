//! The bodies of a call as the store holds them.

use ulid::Ulid;

use crate::request_log::Kept;

/// One call, with those of its bodies that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedCall {
    /// That of its ledger rows; one of its own for a call that made no attempt.
    pub call_id: Ulid,
    /// `x-request-id`.
    pub request_id: String,
    /// When it began, milliseconds since the epoch.
    pub time_ms: i64,
    /// Who asked.
    pub key_id: String,
    /// The key's project at that time.
    pub project: Option<String>,
    /// HTTP status that the client was sent; 499 when it left before.
    pub status: u16,
    /// `completed`, `failed` or `cancelled`.
    pub outcome: String,
    /// Metric label of the error.
    pub error: Option<String>,
    /// True for a streaming request.
    pub stream: bool,
    /// What the client sent; `None`: not kept.
    pub request: Option<Kept>,
    /// What it was sent; `None`: not kept.
    pub response: Option<Kept>,
}

impl LoggedCall {
    /// Bytes of its bodies.
    pub fn bytes(&self) -> u64 {
        let bodies = [&self.request, &self.response];
        bodies.into_iter().flatten().map(|kept| kept.body.len() as u64).sum()
    }
}
