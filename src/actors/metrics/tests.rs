use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::names::Kind;
use super::*;
use crate::actors::testing::receipt;
use crate::receipt::testing::call;
use crate::receipt::{CallRecord, Outcome, Receipt};

fn metrics() -> Metrics {
    Metrics::new(Gauges::default(), crate::actors::testing::standings(), crate::actors::testing::keys())
        .unwrap()
}

fn count(metrics: &mut Metrics, receipts: Vec<Receipt>, calls: Vec<CallRecord>) {
    metrics.count(&Batch { receipts, calls });
}

/// Names of series, values cut off.
fn series(metrics: &mut Metrics) -> BTreeSet<String> {
    let text = metrics.render().unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[test]
fn the_exposition_has_exactly_the_metrics_of_the_table() {
    let mut metrics = metrics();
    count(&mut metrics, vec![receipt(1)], vec![call()]);
    let text = metrics.render().unwrap();
    let kinds = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let table = Metric::ALL.map(|metric| (metric.spec().name, kinds(metric.spec().kind)));
    let shown: BTreeMap<_, _> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert_eq!(shown, BTreeMap::from(table));
    assert_eq!(BTreeSet::from(Metric::ALL.map(|metric| metric.spec().name)).len(), Metric::ALL.len());
}

#[test]
fn a_call_and_its_attempt_are_counted_in_full() {
    let mut metrics = metrics();
    let _guard = metrics.gauges.in_flight.enter();
    metrics.gauges.unsettled.add(3);
    count(
        &mut metrics,
        vec![Receipt { cost: Some(crate::money::Usd::from_units(250_000_000_000)), ..receipt(1) }],
        vec![call()],
    );
    let text = metrics.render().unwrap();
    for line in [
        r#"llm_gateway_requests_total{error="none",route="/v1/chat/completions",status="200"} 1"#,
        r#"llm_gateway_overhead_seconds_bucket{route="/v1/chat/completions",le="0.00005"} 1"#,
        r#"llm_gateway_overhead_seconds_bucket{route="/v1/chat/completions",le="0.000025"} 0"#,
        r#"llm_gateway_attempts_total{error="none",model="m",outcome="completed",provider="p"} 1"#,
        r#"llm_gateway_tokens_total{kind="prompt",model="m",provider="p"} 10"#,
        r#"llm_gateway_cost_usd_total{model="m",provider="p"} 0.25"#,
        r#"llm_gateway_unpriced_attempts_total{provider="p"} 0"#,
        r#"llm_gateway_time_to_first_token_seconds_count{model="m",provider="p"} 1"#,
        r#"llm_gateway_upstream_duration_seconds_count{model="m",outcome="completed",provider="p"} 1"#,
        "llm_gateway_in_flight_requests 1",
        "llm_gateway_unsettled_receipts 3",
        "llm_gateway_store_up 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
}

#[test]
fn ten_thousand_names_that_nobody_knows_add_no_series() {
    let mut metrics = metrics();
    let unknown = |number: u32| Receipt {
        model: Arc::from(format!("m{number}")),
        known_model: false,
        stream: true,
        ..receipt(1)
    };
    count(&mut metrics, vec![unknown(0)], vec![]);
    let before = series(&mut metrics);
    count(&mut metrics, (1..=10_000).map(unknown).collect(), vec![]);
    assert_eq!(series(&mut metrics), before);
    assert!(metrics.render().unwrap().contains(r#"model="other",outcome="completed",provider="p"} 10001"#));
}

#[test]
fn known_names_are_capped_too_and_none_is_lost() {
    let mut metrics = metrics();
    let known = |number: u32| Receipt {
        model: Arc::from(format!("m{number}")),
        provider: Arc::from(format!("p{}", number % 1_000)),
        ..receipt(1)
    };
    count(&mut metrics, (0..30_000).map(known).collect(), vec![]);
    let text = metrics.render().unwrap();
    let attempts = || text.lines().filter(|line| line.starts_with("llm_gateway_attempts_total{"));
    assert!(attempts().count() <= labels::MODELS_MAX + labels::PROVIDERS_MAX + 1, "{}", attempts().count());
    let sum: u32 = attempts().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap()).sum();
    assert_eq!(sum, 30_000);
}

#[test]
fn pairs_are_capped_and_what_comes_later_is_another_model_of_the_same_provider() {
    let mut metrics = metrics();
    let known = |number: usize| Receipt {
        model: Arc::from(format!("m{}", number % 100)),
        provider: Arc::from(format!("p{}", number / 100)),
        ..receipt(1)
    };
    count(&mut metrics, (0..labels::PAIRS_MAX + 50).map(known).collect(), vec![]);
    let text = metrics.render().unwrap();
    let counts =
        || text.lines().filter(|line| line.starts_with("llm_gateway_time_to_first_token_seconds_count"));
    assert_eq!(counts().count(), labels::PAIRS_MAX + 1);
    let other = r#"llm_gateway_time_to_first_token_seconds_count{model="other",provider="p20"} 50"#;
    assert!(text.lines().any(|line| line == other), "{text}");
}

#[test]
fn a_stream_tells_the_time_between_its_tokens() {
    let mut metrics = metrics();
    let stream = |completion, outcome| Receipt {
        stream: true,
        outcome,
        ttft_ms: Some(20),
        duration_ms: 60,
        usage: Some(crate::chat::Usage { completion, ..crate::chat::Usage::default() }),
        ..receipt(1)
    };
    let whole = Receipt { stream: false, ..stream(5, Outcome::Completed) };
    let others =
        vec![stream(1, Outcome::Completed), stream(0, Outcome::Completed), stream(5, Outcome::Failed), whole];
    count(&mut metrics, others, vec![]);
    assert!(!metrics.render().unwrap().contains("llm_gateway_time_per_output_token_seconds_count"));
    count(&mut metrics, vec![stream(5, Outcome::Completed)], vec![]);
    let text = metrics.render().unwrap();
    assert!(
        text.contains("llm_gateway_time_per_output_token_seconds_sum{model=\"m\",provider=\"p\"} 0.01\n"),
        "{text}"
    );
}

#[test]
fn the_first_thousand_keys_are_told_apart_and_no_call_is_lost() {
    let mut metrics = metrics();
    let key = |number: usize| Some(Arc::from(format!("key_{number}")));
    let call = |number| CallRecord { key_id: key(number), ..call() };
    let spent = |number| Receipt {
        caller: crate::receipt::Caller { key_id: key(number).unwrap(), project: None },
        charged: Some(crate::money::Usd::from_units(500_000_000_000)),
        ..receipt(1)
    };
    count(&mut metrics, vec![], (0..10_000).map(call).collect());
    count(&mut metrics, vec![spent(0), spent(0), spent(9_998), spent(9_999)], vec![]);
    let before = series(&mut metrics);
    count(&mut metrics, (0..10_000).map(spent).collect(), (0..10_000).map(call).collect());
    assert_eq!(series(&mut metrics), before);
    let text = metrics.render().unwrap();
    for line in [
        r#"llm_gateway_key_requests_total{key="key_999",outcome="completed"} 2"#,
        r#"llm_gateway_key_requests_total{key="other",outcome="completed"} 18000"#,
        r#"llm_gateway_key_tokens_total{key="key_0",kind="prompt"} 30"#,
        r#"llm_gateway_key_cost_usd_total{key="key_0"} 1.5"#,
        r#"llm_gateway_key_cost_usd_total{key="other"} 4501"#,
        r#"llm_gateway_key_info{key="other",name="other",project=""} 1"#,
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    let keys = text.lines().filter(|line| line.starts_with("llm_gateway_key_cost_usd_total{"));
    assert_eq!(keys.count(), labels::KEYS_MAX + 1);
}

#[test]
fn what_is_shed_is_counted_by_its_reason() {
    let mut metrics = metrics();
    let shed = |(why, _)| CallRecord { shed: Some(why), ..call() };
    count(&mut metrics, vec![], crate::error::Shed::ALL.into_iter().map(shed).chain([call()]).collect());
    let text = metrics.render().unwrap();
    for (_, word) in crate::error::Shed::ALL {
        let line = format!("llm_gateway_sheds_total{{reason=\"{word}\"}} 1\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_name_that_is_too_long_is_cut_where_a_character_ends() {
    assert_eq!(labels::short("search"), "search");
    let cut = labels::short(&"ä".repeat(100)).into_owned();
    assert!(cut.len() <= labels::TEXT_MAX && cut.ends_with("ä…"), "{cut}");
}

#[test]
fn an_attempt_without_a_price_is_told_apart_from_one_that_cost_nothing() {
    let mut metrics = metrics();
    let refused = Receipt {
        status: 500,
        outcome: Outcome::Failed,
        usage: None,
        error: Some("upstream_error"),
        ..receipt(2)
    };
    count(&mut metrics, vec![receipt(1), refused], vec![]);
    let text = metrics.render().unwrap();
    assert!(text.contains("llm_gateway_unpriced_attempts_total{provider=\"p\"} 1\n"), "{text}");
    assert!(text.contains(r#"error="upstream_error",model="m",outcome="failed",provider="p"} 1"#), "{text}");
}

#[test]
fn a_call_that_panics_is_no_longer_in_flight() {
    let in_flight = Gauges::default().in_flight;
    let held = in_flight.clone();
    let ended = std::thread::spawn(move || {
        let _guard = held.enter();
        panic!("as planned");
    })
    .join();
    assert!(ended.is_err());
    assert_eq!(in_flight.get(), 0);
}

/// Run with `UPDATE_DOCS=1` to write the file anew.
#[test]
fn the_metrics_reference_is_in_step_with_the_table() {
    let mut text = String::from(
        "# Metrics\n\n`GET /metrics` on the ops listener, Prometheus text format 0.0.4. Generated from the table in \
         `src/actors/metrics/names.rs`;\n`UPDATE_DOCS=1 cargo test metrics_reference` writes it anew.\n\nA model \
         labels a series only when the catalogue knows it, else it is `other`; so is every model after the first \
         1,000,\nevery provider after the first 200 and every key after the first 1,000. Of the pairs of a provider and a \
         model the first 2,000\nare told apart; the models of later ones are `other`. Names of keys and groups are cut \
         after 128 bytes, with an ellipsis.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in Metric::ALL {
        let spec = metric.spec();
        let (kind, buckets) = match spec.kind {
            Kind::Counter => ("counter", String::new()),
            Kind::Gauge => ("gauge", String::new()),
            Kind::Histogram(bounds) => {
                let bounds: Vec<_> = bounds.iter().map(f64::to_string).collect();
                ("histogram", format!(" Buckets: {}.", bounds.join(", ")))
            }
        };
        writeln!(text, "| `{}` | {kind} | {} | {}{buckets} |", spec.name, spec.labels.join(", "), spec.help)
            .unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        text,
        "run UPDATE_DOCS=1 cargo test metrics_reference"
    );
}
