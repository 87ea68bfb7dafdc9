//! Rows for a ledger without the calls that would make them, settled by the gateway's own code.

use std::path::Path;
use std::sync::Arc;

use llm_gateway::chat::Usage;
use llm_gateway::money::{Markup, Usd};
use llm_gateway::receipt::{Caller, Outcome, Receipt};
use llm_gateway::store::{SqliteStore, Store as _};

/// A completed attempt at provider `up`.
pub fn receipt(time_ms: i64, model: &str, prompt: u64, completion: u64, cost: Option<&str>) -> Receipt {
    let cost: Option<Usd> = cost.map(|cost| cost.parse().expect("an amount"));
    Receipt {
        call_id: ulid::Ulid::generate(),
        attempt: 1,
        request_id: "seeded".into(),
        time_ms,
        caller: Caller { key_id: "key_seeded".into(), project: None },
        tags: Arc::from([]),
        requested_model: model.into(),
        provider: "up".into(),
        model: model.into(),
        known_model: false,
        upstream_model: model.into(),
        status: 200,
        reached: true,
        outcome: Outcome::Completed,
        error: None,
        stream: false,
        ttft_ms: Some(1),
        duration_ms: 2,
        usage: Some(Usage { prompt, completion, total: prompt + completion, ..Usage::default() }),
        unmetered: None,
        estimated: false,
        cost,
        charged: cost,
        markup: Markup::default(),
        tag_sets: Arc::from([]),
        held: None,
        place: None,
        span: None,
        price: None,
        service_tier: None,
    }
}

/// Books them in the ledger of a gateway's folder, beside a gateway that may be running.
pub async fn seed(folder: &Path, receipts: &[Receipt]) {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("the folder can be written");
    let store = SqliteStore::open(&data).await.expect("a store");
    for batch in receipts.chunks(2_000) {
        store.settle(batch).await.expect("settled");
    }
    store.close().await;
}
