//! What one routing decision costs: twenty providers of one model, all of them with attempts behind them.
//!
//! `cargo bench --bench routing`. The goal is 5 us for a decision.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark: the harness makes functions, and what fails shall stop it"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use llm_gateway::catalog::Catalog;
use llm_gateway::chat::Routing;
use llm_gateway::config::{Outside, Provider, assemble};
use llm_gateway::policy::account::Accounts;
use llm_gateway::policy::health::{Observation, Sign};
use llm_gateway::policy::route::{Ask, Now, Router, Tuning, Upstream, session_hash};
use serde_json::{Value, json};

const PROVIDERS: usize = 20;

fn name(at: usize) -> String {
    format!("provider{at}")
}

/// The rows, read as any configuration is.
fn rows() -> Vec<Arc<Provider>> {
    let row = |at: usize| {
        (name(at), json!({"base_url": "http://127.0.0.1:1/v1", "auth": "none", "adaptive_limit": true}))
    };
    let providers: serde_json::Map<String, Value> = (0..PROVIDERS).map(row).collect();
    let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
    let text = json!({"providers": providers}).to_string();
    let loaded = assemble(Some(("bench", &text)), [], &outside).expect("a configuration");
    (0..PROVIDERS).filter_map(|at| loaded.settings.providers.get(&name(at)).cloned()).collect()
}

/// A table of one model at twenty providers, each of them a little dearer and slower than the one before.
fn router(accounts: &Accounts, mode: Routing) -> Router {
    let (now, rows) = (Instant::now(), rows());
    let upstream = |row: &Arc<Provider>| Upstream {
        id: Arc::clone(&row.id),
        catalog: Arc::clone(&row.id),
        credentialed: true,
        env: Vec::new(),
        account: accounts.of(row, now),
        rule: row.admission,
    };
    let offer = |at: usize| {
        let price = format!("1.{at:03}");
        json!({"provider": name(at), "upstream": "maker/model", "context_window": 200_000, "capabilities": ["tools"],
            "price": {"rates": {"input": price, "output": price}}})
    };
    let offers: Vec<Value> = (0..PROVIDERS).map(offer).collect();
    let catalog = json!({"version": 1, "models": [{"id": "model", "offers": offers}]}).to_string();
    let catalog = Arc::new(Catalog::parse(catalog.as_bytes()).expect("a catalogue"));
    let upstreams: Vec<Upstream> = rows.iter().map(upstream).collect();
    for (at, (upstream, row)) in upstreams.iter().zip(&rows).enumerate() {
        let health = upstream.account.target(&Arc::from("maker/model"));
        for attempt in 0..200 {
            let seen = Observation {
                sign: if attempt % 50 == 49 { Sign::Failed } else { Sign::Good },
                ttft: Some(Duration::from_millis(200 + at as u64)),
                duration: Duration::from_secs(2),
                output_tokens: Some(100),
                probe: None,
            };
            health.record(&seen, &row.breaker, now);
        }
    }
    Router::new(catalog, upstreams, BTreeMap::new(), None, BTreeMap::new(), false)
        .tuned(Tuning { mode, exploration: 10 }, BTreeMap::new())
}

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("a decision among {PROVIDERS} candidates"));
    for (mode, word) in [(Routing::Balanced, "balanced"), (Routing::Latency, "latency")] {
        let accounts = Accounts::default();
        let router = router(&accounts, mode);
        for (session, with) in [(None, ""), (Some(session_hash("key", "session")), ", a session")] {
            let ask = Ask { model: "model".to_owned(), prompt_estimate: 1_000, session, ..Ask::default() };
            let mut random = 1_u64;
            group.bench_function(format!("{word}{with}"), |bench| {
                bench.iter(|| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // As the supervisor does, clock included.
                    let at = Instant::now();
                    let now = Now { today: "2026-02-01", at, random, allowed: &|_, _| true, notes: None };
                    router.plan(black_box(&ask), &now).expect("a plan").targets.len()
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = decide
}
criterion_main!(benches);
