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
use llm_gateway::config::{AdmissionRule, AuthStyle, BreakerRule, Provider, Route, Timeouts};
use llm_gateway::policy::account::Accounts;
use llm_gateway::policy::health::{Observation, Sign};
use llm_gateway::policy::route::{Ask, Now, Router, Tuning, Upstream, session_hash};
use llm_gateway::wire::Quirks;
use serde_json::{Value, json};

const PROVIDERS: usize = 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
const BREAKER: BreakerRule = BreakerRule {
    consecutive_failures: 5,
    failure_rate: 50,
    slow_call: Duration::ZERO,
    slow_rate: 80,
    minimum_calls: 20,
    cool_down: Duration::from_secs(5),
    cool_down_max: Duration::from_secs(120),
};

fn name(at: usize) -> String {
    format!("provider{at}")
}

fn row(at: usize) -> Provider {
    Provider {
        id: Arc::from(name(at)),
        routes: vec![Route { models: vec!["*".to_owned()], ..Route::default() }],
        responses: false,
        vars: BTreeMap::new(),
        base_url: "http://127.0.0.1:1/v1".to_owned(),
        auth: AuthStyle::None,
        api_key: None,
        api_keys: Vec::new(),
        identity: None,
        env: Vec::new(),
        catalog: Arc::from(name(at)),
        headers: BTreeMap::new(),
        quirks: Quirks::default(),
        timeouts: Timeouts {
            connect: PATIENCE,
            head: PATIENCE,
            first_event: PATIENCE,
            idle: PATIENCE,
            total: PATIENCE,
        },
        model_timeouts: Vec::new(),
        tending: llm_gateway::config::Tending::default(),
        admission: AdmissionRule {
            ceiling: 4_096,
            adaptive: true,
            floor: 4,
            queue: 1_024,
            queue_timeout: Duration::from_secs(5),
        },
        breaker: BREAKER,
    }
}

/// A table of one model at twenty providers, each of them a little dearer and slower than the one before.
fn router(accounts: &Accounts, mode: Routing) -> Router {
    let now = Instant::now();
    let upstream = |at: usize| {
        let row = std::sync::Arc::new(row(at));
        Upstream {
            id: Arc::clone(&row.id),
            catalog: Arc::clone(&row.id),
            credentialed: true,
            env: Vec::new(),
            account: accounts.of(&row, now),
            rule: row.admission,
        }
    };
    let offer = |at: usize| {
        let price = format!("1.{at:03}");
        json!({"provider": name(at), "upstream": "maker/model", "context_window": 200_000, "capabilities": ["tools"],
            "price": {"rates": {"input": price, "output": price}}})
    };
    let offers: Vec<Value> = (0..PROVIDERS).map(offer).collect();
    let catalog = json!({"version": 1, "models": [{"id": "model", "offers": offers}]}).to_string();
    let catalog = Arc::new(Catalog::parse(catalog.as_bytes()).expect("a catalogue"));
    let upstreams: Vec<Upstream> = (0..PROVIDERS).map(upstream).collect();
    for (at, upstream) in upstreams.iter().enumerate() {
        let health = upstream.account.target(&Arc::from("maker/model"));
        for attempt in 0..200 {
            let seen = Observation {
                sign: if attempt % 50 == 49 { Sign::Failed } else { Sign::Good },
                ttft: Some(Duration::from_millis(200 + at as u64)),
                duration: Duration::from_secs(2),
                output_tokens: Some(100),
                probe: None,
            };
            health.record(&seen, &BREAKER, now);
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
