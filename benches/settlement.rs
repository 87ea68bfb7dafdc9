//! What the stores take and give: receipts settled per second, then the questions of the admin page over a million rows.
//!
//! `cargo bench --bench settlement`, or with `-- sqlite`, or with `-- postgres://..` for an empty database of your own; without an
//! address PostgreSQL is started in a temporary folder. Goals: 20,000 receipts/s in one connection, usage by key of a month
//! in 50 ms, a page of requests in 20 ms.

#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a benchmark: what it says is its result, what fails shall stop it, and it uses a part of the tests' support"
)]

#[path = "../tests/blackbox/support/postgres.rs"]
mod postgres;
#[path = "../tests/blackbox/support/receipts.rs"]
mod receipts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_gateway::config::{Outside, Settings, assemble};
use llm_gateway::receipt::{Caller, Receipt};
use llm_gateway::rfc3339::HOUR_MS;
use llm_gateway::store::{self, GroupBy, RequestFilter, Store};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

const ROWS: usize = 1_000_000;
const KEYS: usize = 50;
const MODELS: usize = 8;
const HOURS: usize = 30 * 24;
/// Times that a question is asked; the middle one counts.
const ASKED: usize = 21;
/// The first hour of the month that the rows lie in.
const MONTH_MS: i64 = 490_000 * HOUR_MS;

/// The receipt of this number: in one hour of the month after the other, by one key after the other. A key uses two of the
/// models.
fn made(number: usize) -> Receipt {
    let hour = number * HOURS / ROWS % HOURS;
    let time_ms = MONTH_MS + hour as i64 * HOUR_MS + (number % 3_600_000) as i64;
    let caller = Caller {
        key_id: format!("key_{:026}", number % KEYS).into(),
        project: Some(format!("project-{}", number % KEYS % 10).into()),
    };
    Receipt {
        request_id: format!("01J{number:023}").into(),
        model: format!("model-{}", (number % KEYS + number / KEYS % 2 * 3) % MODELS).into(),
        caller,
        tags: [("team".to_owned(), format!("team-{}", number % 5))].into(),
        ..receipts::receipt(time_ms)
    }
}

fn settings(folder: &TempDir, url: Option<&str>) -> Settings {
    let config =
        json!({"data_dir": folder.path(), "database": {"url": url, "max_connections": 8}}).to_string();
    let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
    assemble(Some(("bench", &config)), [], &outside).expect("a configuration").settings
}

/// Settles so many receipts from `first` on, in transactions of `batch`, over `writers` at once; says how many that is per
/// second, and what each takes of this process's CPU time.
async fn settled(
    store: &Arc<dyn Store>,
    what: &str,
    (first, count): (usize, usize),
    batch: usize,
    writers: usize,
) {
    let receipts: Vec<Receipt> = (first..first + count).map(made).collect();
    let (started, before) = (Instant::now(), cpu_seconds());
    let writing = receipts.chunks(count.div_ceil(writers)).map(|share| async move {
        for batch in share.chunks(batch) {
            store.settle(batch).await.expect("settled");
        }
    });
    futures_util::future::join_all(writing).await;
    let (rate, cpu) = (count as f64 / started.elapsed().as_secs_f64(), cpu_seconds() - before);
    println!("  {what:<52} {rate:>9.0} receipts/s {:>9.2} us CPU each", cpu * 1e6 / count as f64);
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // In ticks of a hundredth of a second, as every Linux counts for user programs.
    (fields[11].parse::<f64>().expect("a number") + fields[12].parse::<f64>().expect("a number")) / 100.0
}

/// The middle time of a question.
async fn asked<F: Future>(what: &str, mut question: impl FnMut() -> F) {
    let mut times: Vec<Duration> = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let started = Instant::now();
        question().await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!("  {what:<52} {:>9.2} ms", times[ASKED / 2].as_secs_f64() * 1_000.0);
}

async fn measure(name: &str, settings: &Settings) {
    let store = store::open(settings).await.expect("the store opens");
    println!("{name}");
    let mut next = 0;
    for (batch, writers) in [(4_000, 1), (1_000, 1), (250, 1), (1_000, 4)] {
        let what = format!("settled by {batch}, {writers} at once");
        settled(&store, &what, (next, 100_000), batch, writers).await;
        next += 100_000;
    }
    settled(&store, "settled by 2000, up to a million rows", (next, ROWS - next), 2_000, 1).await;
    let again: Vec<Receipt> = (0..1_000).map(made).collect();
    store.settle(&again).await.expect("settled");
    let started = Instant::now();
    store.settle(&again).await.expect("settled");
    println!(
        "  {:<52} {:>9.2} ms",
        "a batch of 1000 that is there already",
        started.elapsed().as_secs_f64() * 1_000.0
    );
    if let Some(url) = &settings.database.url {
        // As autovacuum does within a minute of such a load.
        let mut connection = PgConnection::connect(url.expose()).await.expect("a connection");
        sqlx::query("ANALYZE ledger").execute(&mut connection).await.expect("statistics");
    }
    questions(&*store).await;
    store.close().await;
}

async fn questions(store: &dyn Store) {
    let end = MONTH_MS + HOURS as i64 * HOUR_MS;
    let usage =
        async |groups: &[GroupBy], end: i64| drop(store.usage(MONTH_MS, end, groups).await.expect("usage"));
    asked("usage of a month by key", || usage(&[GroupBy::Key], end)).await;
    asked("usage of a month by key and day", || usage(&[GroupBy::Key, GroupBy::Day], end)).await;
    asked("usage of a month by model", || usage(&[GroupBy::Model], end)).await;
    let day = MONTH_MS + 24 * HOUR_MS;
    asked("usage of a day by tag (from the ledger)", || usage(&[GroupBy::Tag], day)).await;
    let page = async |filter: &RequestFilter, cursor: Option<&str>| {
        store.requests(filter, cursor, 100).await.expect("a page").next_cursor
    };
    let all = RequestFilter::default();
    asked("newest page of requests", || page(&all, None)).await;
    let mut cursor = None;
    for _ in 0..50 {
        cursor = page(&all, cursor.as_deref()).await;
    }
    asked("page 51 of requests", || page(&all, cursor.as_deref())).await;
    let of_key = RequestFilter { key: Some(format!("key_{:026}", 7)), ..all.clone() };
    asked("page of one key's requests", || page(&of_key, None)).await;
    let middle =
        RequestFilter { from_ms: Some(MONTH_MS), to_ms: Some(MONTH_MS + 360 * HOUR_MS), ..of_key.clone() };
    asked("page of one key's requests, in a time", || page(&middle, None)).await;
    let of_project = RequestFilter { project: Some("project-3".to_owned()), ..all.clone() };
    asked("page of one project's requests", || page(&of_project, None)).await;
    let of_model = RequestFilter { model: Some("model-3".to_owned()), ..all.clone() };
    asked("page of one model's requests", || page(&of_model, None)).await;
    let nothing = RequestFilter { project: Some("nobody".to_owned()), ..all.clone() };
    asked("page of a project that has none", || page(&nothing, None)).await;
    let one = RequestFilter { request_id: Some(format!("01J{:023}", 77)), ..all.clone() };
    asked("one request by its id", || page(&one, None)).await;
}

fn main() {
    let asked: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = TempDir::new().expect("a folder");
    if asked.is_empty() || asked.iter().any(|argument| argument == "sqlite") {
        runtime.block_on(measure("SQLite", &settings(&folder, None)));
    }
    let own = asked.iter().find(|argument| argument.starts_with("postgres"));
    match own {
        Some(url) => runtime.block_on(measure("PostgreSQL", &settings(&folder, Some(url)))),
        None if asked.is_empty() => {
            let cluster = postgres::Cluster::start();
            let url = runtime.block_on(cluster.database());
            runtime.block_on(measure("PostgreSQL of its own", &settings(&folder, Some(&url))));
        }
        None => {}
    }
}
