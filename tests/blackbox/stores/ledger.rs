//! Settlement, the ledger's pages and the totals.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use llm_gateway::chat::Usage;
use llm_gateway::money::Usd;
use llm_gateway::receipt::{Outcome, Receipt};
use llm_gateway::rfc3339::HOUR_MS;
use llm_gateway::store::{GroupBy, GroupValue, LedgerRow, RequestFilter, Store, UsageRow};

use super::{Place, on_both, status};
use crate::support::receipts::receipt;

const ALL: i64 = 1_000 * HOUR_MS;

on_both! {
    a_receipt_settled_again_counts_once,
    a_batch_larger_than_one_statement_is_settled_whole,
    a_row_comes_back_as_its_receipt_went_in,
    filters_show_only_what_was_asked_for,
    pages_of_the_ledger_stay_in_place_while_rows_are_settled,
    sums_beyond_64_bits_are_exact,
    usage_by_tag_counts_a_row_in_each_of_its_tags,
    overlapping_batches_settled_by_four_processes_at_once_are_counted_once,
    names_that_only_a_client_would_think_of_are_booked_like_others,
}

async fn everything(store: &dyn Store, filter: &RequestFilter) -> Vec<LedgerRow> {
    store.requests(filter, None, 1000).await.unwrap().data
}

async fn a_receipt_settled_again_counts_once(place: Place) {
    let store = place.open().await;
    let batch = [receipt(10), receipt(20)];
    let twice = [batch[0].clone(), batch[1].clone(), batch[0].clone()];
    store.settle(&twice).await.unwrap();
    store.settle(&batch).await.unwrap();
    let third = Receipt { attempt: 2, ..batch[0].clone() };
    store.settle(&[batch[1].clone(), third]).await.unwrap();
    store.settle(&[]).await.unwrap();
    assert_eq!(everything(&*store, &RequestFilter::default()).await.len(), 3);
    let usage = store.usage(0, ALL, &[]).await.unwrap();
    assert_eq!((usage[0].requests, usage[0].cost_units), (3, 3_000));
}

async fn a_batch_larger_than_one_statement_is_settled_whole(place: Place) {
    let store = place.open().await;
    let batch: Vec<Receipt> = (0..777).map(receipt).collect();
    store.settle(&batch).await.unwrap();
    assert_eq!(store.usage(0, ALL, &[]).await.unwrap()[0].requests, 777);
}

async fn a_row_comes_back_as_its_receipt_went_in(place: Place) {
    let store = place.open().await;
    let mut full = receipt(1_234);
    full.tags = [("team".to_owned(), "a=b".to_owned())].into();
    full.caller.project = Some("p".into());
    full.error = Some("timeout");
    full.outcome = Outcome::Failed;
    full.usage =
        Some(Usage { prompt: 9, cache_read: 1, cache_write_5m: 2, cache_write_1h: 3, ..Usage::default() });
    let bare = Receipt { usage: None, cost: None, ttft_ms: None, time_ms: 1, ..receipt(1) };
    store.settle(&[full.clone(), bare]).await.unwrap();
    let rows = everything(&*store, &RequestFilter::default()).await;
    let row = &rows[0];
    assert_eq!((row.call_id, row.attempt, row.time_ms), (full.call_id, 1, 1_234));
    assert_eq!((row.outcome.as_str(), row.error.as_deref(), row.status), ("failed", Some("timeout"), 200));
    assert_eq!((row.project.as_deref(), row.cost), (Some("p"), Some(Usd::from_units(1_000))));
    assert_eq!(row.tokens.map(|tokens| (tokens.prompt, tokens.cached, tokens.cache_write)), Some((9, 1, 5)));
    assert_eq!(*row.tags, *full.tags);
    assert_eq!((rows[1].tokens, rows[1].cost, rows[1].ttft_ms), (None, None, None));
}

async fn filters_show_only_what_was_asked_for(place: Place) {
    let store = place.open().await;
    let mut other = receipt(20);
    other.caller.key_id = "key_b".into();
    other.model = "claude".into();
    other.outcome = Outcome::Cancelled;
    other.status = 503;
    store.settle(&[receipt(10), other]).await.unwrap();
    let filter = RequestFilter::default;
    let cases = [
        (RequestFilter { key: Some("key_a".into()), ..filter() }, vec![10]),
        (RequestFilter { key: Some("key_b' OR '1".into()), ..filter() }, vec![]),
        (RequestFilter { model: Some("claude".into()), ..filter() }, vec![20]),
        (RequestFilter { provider: Some("openai".into()), ..filter() }, vec![20, 10]),
        (RequestFilter { outcome: Some("cancelled".into()), ..filter() }, vec![20]),
        (RequestFilter { status: Some(200), ..filter() }, vec![10]),
        (RequestFilter { project: Some("p".into()), ..filter() }, vec![]),
        (RequestFilter { request_id: Some("req-1".into()), ..filter() }, vec![20, 10]),
        (RequestFilter { from_ms: Some(11), ..filter() }, vec![20]),
        (RequestFilter { to_ms: Some(20), ..filter() }, vec![10]),
    ];
    for (filter, expected) in cases {
        let times: Vec<i64> = everything(&*store, &filter).await.iter().map(|row| row.time_ms).collect();
        assert_eq!(times, expected, "{filter:?}");
    }
}

async fn pages_of_the_ledger_stay_in_place_while_rows_are_settled(place: Place) {
    let store = place.open().await;
    // Ties in time on purpose.
    let batch: Vec<Receipt> = (0..10).map(|at| receipt(at / 3)).collect();
    store.settle(&batch).await.unwrap();
    let filter = RequestFilter::default();
    let expected = everything(&*store, &filter).await;
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = store.requests(&filter, cursor.as_deref(), 3).await.unwrap();
        seen.extend(page.data);
        store.settle(&[receipt(100)]).await.unwrap();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    for bad in ["", "1", "1.2.3", "x.01J00000000000000000000000.1"] {
        assert_eq!(status(store.requests(&filter, Some(bad), 3).await.unwrap_err()), 400);
    }
}

async fn sums_beyond_64_bits_are_exact(place: Place) {
    let store = place.open().await;
    let huge = |time_ms| Receipt {
        cost: Some(Usd::from_units(i64::MAX)),
        usage: Some(Usage { prompt: u64::MAX, ..Usage::default() }),
        ..receipt(time_ms)
    };
    for _ in 0..3 {
        store.settle(&[huge(1), huge(1), huge(2)]).await.unwrap();
    }
    for to_ms in [HOUR_MS, HOUR_MS - 1] {
        let usage = store.usage(0, to_ms, &[GroupBy::Key]).await.unwrap();
        assert_eq!(usage[0].cost_units, 9 * i128::from(i64::MAX));
        assert_eq!(usage[0].tokens.prompt, 9 * u64::from(u32::MAX));
    }
}

async fn usage_by_tag_counts_a_row_in_each_of_its_tags(place: Place) {
    let store = place.open().await;
    let tag = |name: &str| (name.to_owned(), "x".to_owned());
    let tagged = Receipt { tags: [tag("a"), tag("b")].into(), ..receipt(1) };
    let other = Receipt { tags: [tag("b")].into(), ..receipt(2) };
    store.settle(&[tagged, other, receipt(3)]).await.unwrap();
    let usage = store.usage(0, ALL, &[GroupBy::Tag]).await.unwrap();
    let seen: Vec<_> = usage.into_iter().map(|row| (row.groups[0].clone(), row.requests)).collect();
    let name = |name: Option<&str>| GroupValue::Name(name.map(str::to_owned));
    assert_eq!(seen, [(name(None), 1), (name(Some("a=x")), 1), (name(Some("b=x")), 2)]);
}

async fn overlapping_batches_settled_by_four_processes_at_once_are_counted_once(place: Place) {
    const ROUNDS: usize = 8;
    const ROWS: usize = 800;
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(place.open().await);
    }
    let made = |at: usize| {
        let mut made = receipt(at as i64 % 5 * HOUR_MS);
        made.caller.key_id = ["key_a", "key_b"][at % 2].into();
        made
    };
    for _ in 0..ROUNDS {
        let receipts: Vec<Receipt> = (0..ROWS).map(made).collect();
        // Three quarters each, from another place on, every other one backwards: each row is in three batches.
        let batch = |process: usize| {
            let mut batch: Vec<Receipt> =
                receipts.iter().cycle().skip(process * ROWS / 4).take(ROWS * 3 / 4).cloned().collect();
            if process % 2 == 1 {
                batch.reverse();
            }
            batch
        };
        let settling = stores.iter().enumerate().map(|(process, store)| {
            let batch = batch(process);
            async move { store.settle(&batch).await.unwrap() }
        });
        join_all(settling).await;
    }
    for end in [ALL, ALL + 1] {
        let by_key = stores[0].usage(0, end, &[GroupBy::Key]).await.unwrap();
        let seen: Vec<_> = by_key.iter().map(|row| (row.requests, row.cost_units)).collect();
        let half = (ROUNDS * ROWS / 2) as u64;
        assert_eq!(seen, [(half, i128::from(half) * 1_000); 2]);
    }
}

async fn names_that_only_a_client_would_think_of_are_booked_like_others(place: Place) {
    let store = place.open().await;
    let odd = |name: &str| Receipt {
        requested_model: name.into(),
        model: name.into(),
        upstream_model: name.into(),
        ..receipt(1)
    };
    let batch = [odd("a\0b"), odd(&"\u{1F600}".repeat(4_000)), odd("x'; DROP TABLE ledger; --"), odd("")];
    store.settle(&batch).await.unwrap();
    store.settle(&batch).await.unwrap();
    assert_eq!(everything(&*store, &RequestFilter::default()).await.len(), 4);
    for end in [ALL, ALL + 1] {
        let usage = store.usage(0, end, &[GroupBy::Model]).await.unwrap();
        assert_eq!(usage.iter().map(|row| row.requests).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }
    let filter = RequestFilter { model: Some("a\0b".into()), ..RequestFilter::default() };
    assert_eq!(everything(&*store, &filter).await.len(), 1);
    assert_eq!(status(store.key("\0").await.unwrap_err()), 404);
}

/// A receipt out of few values, so that groups are shared.
fn any_receipt() -> impl Strategy<Value = Receipt> {
    let names = (0_usize..2, 0_usize..3, 0_usize..2, 0_usize..3);
    (
        0_i64..60 * HOUR_MS,
        names,
        proptest::option::of(-5_i64..i64::MAX),
        proptest::option::of(0_u64..9),
        0_usize..3,
    )
        .prop_map(|(time_ms, (key, project, model, tag), cost, tokens, outcome)| {
            let mut made = receipt(time_ms);
            made.caller.key_id = ["key_a", "key_b"][key].into();
            made.caller.project = [None, Some("p"), Some("q")][project].map(Into::into);
            made.model = ["gpt", "claude"][model].into();
            made.cost = cost.map(Usd::from_units);
            made.charged = made.cost.map(|cost| Usd::from_units(cost.units() / 2));
            made.tag_sets = [[].as_slice(), &["team=a"], &["team=a", "x=y"]][tag]
                .iter()
                .map(|name| Arc::from(*name))
                .collect();
            made.outcome = [Outcome::Completed, Outcome::Failed, Outcome::Cancelled][outcome];
            made.usage = tokens.map(|prompt| Usage {
                prompt,
                cache_read: prompt / 2,
                completion: 1,
                ..Usage::default()
            });
            made
        })
}

/// The totals as anybody would add them up.
fn by_hand(receipts: &[Receipt], from_ms: i64, to_ms: i64) -> Vec<UsageRow> {
    let mut totals = BTreeMap::<Vec<GroupValue>, UsageRow>::new();
    for receipt in receipts.iter().filter(|receipt| (from_ms..to_ms).contains(&receipt.time_ms)) {
        let groups = vec![
            GroupValue::Name(receipt.caller.project.as_deref().map(str::to_owned)),
            GroupValue::Name(Some(receipt.model.to_string())),
            GroupValue::Time(receipt.time_ms / (24 * HOUR_MS) * 24 * HOUR_MS),
        ];
        let row = totals.entry(groups.clone()).or_insert(UsageRow { groups, ..UsageRow::default() });
        let usage = receipt.usage.unwrap_or_default();
        row.requests += 1;
        row.errors += u64::from(receipt.outcome == Outcome::Failed);
        row.unpriced += u64::from(receipt.cost.is_none());
        row.tokens.prompt += usage.prompt;
        row.tokens.cached += usage.cache_read;
        row.tokens.completion += usage.completion;
        row.cost_units += i128::from(receipt.cost.unwrap_or_default().units());
        row.charged_units += i128::from(receipt.charged.unwrap_or_default().units());
    }
    totals.into_values().collect()
}

/// Settles in two batches that overlap, as after a crash; both ways of summing give what anybody would add up.
fn sums_are_exact(place: impl AsyncFn() -> Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases = (proptest::collection::vec(any_receipt(), 0..60), 0_usize..60, 0_i64..30, 1_i64..60);
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) });
    let result = runner.run(&cases, |(receipts, cut, begin, hours)| {
        runtime.block_on(async {
            let place = place().await;
            let store = place.open().await;
            store.settle(&receipts[..cut.min(receipts.len())]).await.unwrap();
            store.settle(&receipts).await.unwrap();
            let groups = [GroupBy::Project, GroupBy::Model, GroupBy::Day];
            // On hours the sums answer, those of whole days among them; else the ledger.
            let (begin, end) = (begin * HOUR_MS, (begin + hours) * HOUR_MS);
            for (begin, end) in [(begin, end), (begin, end + 1), (0, 48 * HOUR_MS)] {
                let usage = store.usage(begin, end, &groups).await.unwrap();
                assert_eq!(usage, by_hand(&receipts, begin, end));
            }
            store.close().await;
        });
        Ok(())
    });
    result.unwrap();
}

#[test]
fn totals_by_hour_and_day_and_the_ledger_equal_the_sum_of_the_receipts_in_sqlite() {
    sums_are_exact(async || Place::sqlite());
}

#[test]
fn totals_by_hour_and_day_and_the_ledger_equal_the_sum_of_the_receipts_in_postgres() {
    sums_are_exact(Place::postgres);
}
