//! What a scrape costs: 50 models at each of 20 providers, attempts that ended in every way, 1,000 keys with budgets and
//! limits.
//!
//! `cargo bench --bench scrape`. The goal is 5 ms for a scrape with all of it, and 1 us for an attempt and its call.

#![allow(
    missing_docs,
    dead_code,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark: what it says is its result, what fails shall stop it, and it uses a part of the tests' support"
)]

#[path = "../tests/blackbox/support/receipts.rs"]
mod receipts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use llm_gateway::actors::gauges::Gauges;
use llm_gateway::actors::live::Current;
use llm_gateway::actors::metrics::Metrics;
use llm_gateway::actors::standing::Standings;
use llm_gateway::config::{Outside, assemble};
use llm_gateway::money::Usd;
use llm_gateway::policy::account::Accounts;
use llm_gateway::policy::budget::{Budget, Period};
use llm_gateway::policy::health::{Observation, Sign};
use llm_gateway::policy::quota::Limits;
use llm_gateway::policy::route::Router;
use llm_gateway::receipt::{Batch, CallRecord, Caller, Outcome, Receipt, Told};
use llm_gateway::store::{By, KeySpec, KeyTable, SqliteStore, Store};
use llm_gateway::upstream::{Keyring, tls_config};
use serde_json::{Value, json};

const PROVIDERS: usize = 20;
const MODELS: usize = 50;
const KEYS: usize = 1_000;
/// Scrapes; the middle one counts.
const SCRAPES: usize = 51;

fn provider(at: usize) -> String {
    format!("provider{at}")
}

fn model(at: usize) -> Arc<str> {
    format!("maker-model-{at}-instruct").into()
}

/// The providers, each of whose models was asked.
fn standings() -> Standings {
    let row = |at: usize| (provider(at), json!({"base_url": "http://127.0.0.1:1/v1", "auth": "none"}));
    let providers: serde_json::Map<String, Value> = (0..PROVIDERS).map(row).collect();
    let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
    let text = json!({"providers": providers}).to_string();
    let settings = assemble(Some(("bench", &text)), [], &outside).expect("a configuration").settings;
    let (accounts, now) = (Arc::<Accounts>::default(), Instant::now());
    let seen = Observation {
        sign: Sign::Good,
        ttft: Some(Duration::from_millis(200)),
        duration: Duration::from_secs(2),
        output_tokens: Some(100),
        probe: None,
    };
    for row in settings.providers.values() {
        let account = accounts.of(row, now);
        for at in 0..MODELS {
            account.target(&model(at)).record(&seen, &row.breaker, now);
        }
    }
    let router = Router::new(Arc::default(), Vec::new(), BTreeMap::new(), None, BTreeMap::new(), false);
    let tls = tls_config().expect("TLS");
    let current = Current { settings, router: Arc::new(router), tls, keyring: Keyring::default() };
    Standings::new(Arc::new(ArcSwap::from_pointee(current)), accounts)
}

/// A table of keys with budgets and limits, and their ids.
async fn keys() -> (Arc<KeyTable>, Vec<Arc<str>>) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let store = SqliteStore::open(folder.path()).await.expect("a store");
    let mut ids = Vec::new();
    for at in 0..KEYS {
        let limit = std::num::NonZeroU32::new(600);
        let spec = KeySpec {
            name: format!("key of team {at}"),
            budget: Some(Budget::new(Usd::from_units(1_000_000_000_000), Period::Month)),
            limits: Limits { rpm: limit, tpm: limit, concurrency: limit },
            ..KeySpec::default()
        };
        let by = By { actor: "bench".to_owned(), now_ms: 1 };
        ids.push(store.create_key(spec, by).await.expect("a key").0.id.into());
    }
    let table = KeyTable::new(Arc::default());
    table.refresh(&store).await.expect("the keys");
    (Arc::new(table), ids)
}

/// An attempt at each model of each provider that ended in each way, and its call, spread over the keys.
fn batches(ids: &[Arc<str>]) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut keys = ids.iter().cycle();
    for at in 0..PROVIDERS * MODELS {
        let ends = [
            (Outcome::Completed, None),
            (Outcome::Failed, Some("timeout")),
            (Outcome::Cancelled, Some("cancelled")),
        ];
        let mut batch = Batch::default();
        for (outcome, error) in ends {
            let key_id = Arc::clone(keys.next().expect("a key"));
            batch.receipts.push(Receipt {
                provider: provider(at / MODELS).into(),
                model: model(at % MODELS),
                caller: Caller { key_id: Arc::clone(&key_id), project: None },
                known_model: true,
                stream: true,
                ttft_ms: Some(100 + at as u32),
                duration_ms: 2_000 + at as u32,
                charged: Some(Usd::from_units(123_456_789)),
                outcome,
                error,
                ..receipts::receipt(1)
            });
            batch.calls.push(CallRecord {
                route: "/v1/chat/completions",
                status: 200,
                error,
                outcome,
                stream: true,
                attempts: 1,
                duration_us: 2_000_000,
                overhead_us: 60,
                ttft_us: Some(200_000),
                key_id: Some(key_id),
                shed: None,
                told: Told::default(),
                span: None,
            });
        }
        batches.push(batch);
    }
    batches
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (table, ids) = runtime.block_on(keys());
    let mut metrics = Metrics::new(Gauges::default(), standings(), table).expect("metrics");
    let batches = batches(&ids);
    batches.iter().for_each(|batch| metrics.count(batch));
    let started = Instant::now();
    for _ in 0..20 {
        batches.iter().for_each(|batch| metrics.count(batch));
    }
    let counted = 20 * batches.iter().map(|batch| batch.receipts.len()).sum::<usize>();
    let each = started.elapsed().as_secs_f64() * 1e9 / counted as f64;
    println!("{each:>9.0} ns to count an attempt and its call");
    let text = metrics.render().expect("text");
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("{series:>9} lines of series, {} bytes", text.len());
    // As a gateway that is busy: between two scrapes a tenth of all pairs of a model and a provider are asked.
    let share = batches.get(..batches.len() / 10).expect("a share");
    for (what, counted) in [("nothing", &[][..]), ("a tenth", share), ("everything", &batches[..])] {
        let mut times: Vec<Duration> = (0..SCRAPES)
            .map(|_| {
                counted.iter().for_each(|batch| metrics.count(batch));
                let started = Instant::now();
                metrics.render().expect("text");
                started.elapsed()
            })
            .collect();
        times.sort_unstable();
        let ms = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        println!("{:>9.2} ms to render where {what} changed (least {:.2})", ms(SCRAPES / 2), ms(0));
    }
}
