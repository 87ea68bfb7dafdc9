//! Receipts for tests of the stores, and for their benchmark.

use std::sync::Arc;

use llm_gateway::chat::Usage;
use llm_gateway::money::Usd;
use llm_gateway::receipt::{Caller, Outcome, Receipt};
use ulid::Ulid;

/// A completed attempt of key `key_a`.
pub fn receipt(time_ms: i64) -> Receipt {
    Receipt {
        call_id: Ulid::generate(),
        attempt: 1,
        request_id: "req-1".into(),
        time_ms,
        caller: Caller { key_id: "key_a".into(), project: None },
        tags: Arc::from([]),
        requested_model: "auto".into(),
        provider: "openai".into(),
        model: "gpt-5-mini".into(),
        known_model: true,
        upstream_model: "gpt-5-mini-2025".into(),
        status: 200,
        reached: true,
        outcome: Outcome::Completed,
        error: None,
        stream: false,
        ttft_ms: Some(7),
        duration_ms: 9,
        usage: Some(Usage { prompt: 10, completion: 5, total: 15, reasoning: Some(2), ..Usage::default() }),
        unmetered: None,
        estimated: false,
        cost: Some(Usd::from_units(1_000)),
        charged: Some(Usd::from_units(1_000)),
        markup: Default::default(),
        tag_sets: Arc::from([]),
        held: None,
        place: None,
        span: None,
        price: None,
        service_tier: None,
    }
}
