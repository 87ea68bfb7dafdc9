//! What tests of several modules share.

use super::{CallRecord, Outcome, Told};

/// A call that went well after one attempt.
pub fn call() -> CallRecord {
    CallRecord {
        route: "/v1/chat/completions",
        status: 200,
        error: None,
        outcome: Outcome::Completed,
        stream: true,
        attempts: 1,
        duration_us: 30_000,
        overhead_us: 40,
        ttft_us: Some(20_000),
        key_id: None,
        shed: None,
        told: Told::default(),
        span: None,
    }
}
