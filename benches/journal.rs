//! What the journal costs a cell per receipt: making the record, and making and writing it.
//!
//! `cargo bench --bench journal`. The goal is 3 us for both together. The segments are in the system's temporary folder:
//! set TMPDIR to measure another disk.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark: the harness makes functions, and what fails shall stop it"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use llm_gateway::chat::Usage;
use llm_gateway::config::{JournalSettings, OnFull};
use llm_gateway::journal::{Journal, Segments};
use llm_gateway::money::Usd;
use llm_gateway::receipt::{Caller, Outcome, Receipt, Unmetered};

/// A receipt with all that one has as a rule.
fn receipt() -> Receipt {
    Receipt {
        call_id: ulid::Ulid::generate(),
        attempt: 1,
        request_id: "req_01JAB3DEKTSV4RRFFQ69G5FAV0".into(),
        time_ms: 1_700_000_000_000,
        caller: Caller { key_id: "key_01JAB3DEKTSV4RRFFQ69G5FAV0".into(), project: Some("search".into()) },
        tags: Arc::from([
            ("team".to_owned(), "search".to_owned()),
            ("feature".to_owned(), "summary".to_owned()),
        ]),
        requested_model: "gpt-5-mini".into(),
        provider: "openai".into(),
        model: "gpt-5-mini".into(),
        known_model: true,
        upstream_model: "gpt-5-mini-2025-08-07".into(),
        status: 200,
        reached: true,
        outcome: Outcome::Completed,
        error: None,
        stream: true,
        ttft_ms: Some(310),
        duration_ms: 4_200,
        usage: Some(Usage {
            prompt: 3_200,
            completion: 420,
            total: 3_620,
            cache_read: 2_048,
            reasoning: Some(128),
            ..Usage::default()
        }),
        unmetered: None,
        estimated: false,
        cost: Some(Usd::from_units(1_234_567_890)),
        price: None,
        service_tier: Some("default".into()),
        charged: None,
        markup: Default::default(),
        tag_sets: Arc::from([]),
        held: None,
        place: None,
        span: None,
    }
}

fn append(c: &mut Criterion) {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let settings = JournalSettings {
        fsync_interval: Duration::from_millis(200),
        segment_bytes: 8 << 20,
        max_bytes: 64 << 30,
        memory_receipts: 20_000,
        on_full: OnFull::Shed,
    };
    let segments = Arc::<Segments>::default();
    let journal = Journal::open(folder.path(), settings, Arc::clone(&segments)).expect("a journal");
    let keeper = journal.keep().expect("a thread");
    let mut writer = journal.writer();
    let text =
        Unmetered { request: vec![b'x'; 4_000].into(), delivered: "y".repeat(2_000), ..Unmetered::default() };
    let unmetered = Receipt { usage: None, cost: None, unmetered: Some(text), ..receipt() };
    for (kind, mut receipt) in [("a receipt", receipt()), ("one with 6 kB of text", unmetered)] {
        let mut group = c.benchmark_group(format!("{kind}, {} bytes", writer.size_of(&receipt)));
        group.bench_function("encode", |bench| bench.iter(|| writer.size_of(black_box(&receipt))));
        group.bench_function("encode and write", |bench| {
            bench.iter_custom(|times| {
                let began = Instant::now();
                for _ in 0..times {
                    writer.append(black_box(&mut receipt));
                }
                let took = began.elapsed();
                assert!(receipt.place.is_some(), "written");
                // As Billing does; the keeper deletes them.
                segments.all().iter().for_each(|segment| segment.settle(segment.written(), 0, 0));
                took
            });
        });
    }
    keeper.end();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = append
}
criterion_main!(benches);
