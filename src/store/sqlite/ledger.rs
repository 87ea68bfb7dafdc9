//! Settlement: receipts into the ledger and its hourly totals, each exactly once.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, Row as _, Transaction};
use ulid::Ulid;

use super::super::error::StoreError;
use super::{SqliteStore, column, tags_json, unavailable};
use crate::chat::Usage;
use crate::receipt::{Outcome, Receipt};
use crate::rfc3339::HOUR_MS;

/// Rows in one INSERT: 31 values each, of the 32,766 that SQLite can bind.
const ROWS_PER_INSERT: usize = 250;

const INSERT: &str = "INSERT INTO ledger (call_id, attempt, request_id, time_ms, key_id, project, requested_model, \
    provider, model, upstream_model, status, outcome, error, stream, ttft_ms, duration_ms, prompt_tokens, \
    cached_tokens, cache_write_5m_tokens, cache_write_1h_tokens, completion_tokens, reasoning_tokens, \
    audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, web_searches, estimated, \
    cost, service_tier, tags) ";

/// Adds to one hour's totals; the carry of the low part of the cost goes into the high part.
const ADD: &str = "INSERT INTO usage_hourly (hour, key_id, project, provider, model, requests, errors, unpriced, \
    prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, cost_high, cost_low) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (hour, key_id, project, provider, model) DO UPDATE SET \
    requests = requests + excluded.requests, errors = errors + excluded.errors, \
    unpriced = unpriced + excluded.unpriced, prompt_tokens = prompt_tokens + excluded.prompt_tokens, \
    cached_tokens = cached_tokens + excluded.cached_tokens, \
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens, \
    completion_tokens = completion_tokens + excluded.completion_tokens, \
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens, \
    cost_high = cost_high + excluded.cost_high + ((cost_low + excluded.cost_low) >> 32), \
    cost_low = (cost_low + excluded.cost_low) & 4294967295";

/// What one row of totals is about: hour, key, project, provider, model.
type Slot<'a> = (i64, &'a str, &'a str, &'a str, &'a str);

/// What is added to it.
#[derive(Clone, Copy, Default)]
struct Sum {
    requests: i64,
    errors: i64,
    unpriced: i64,
    prompt: i64,
    cached: i64,
    cache_write: i64,
    completion: i64,
    reasoning: i64,
    cost: i128,
}

pub(super) async fn settle(store: &SqliteStore, receipts: &[Receipt]) -> Result<(), StoreError> {
    if receipts.is_empty() {
        return Ok(());
    }
    let mut tx = store.begin().await?;
    let mut sums = BTreeMap::new();
    for chunk in receipts.chunks(ROWS_PER_INSERT) {
        let mut inserted = insert(&mut tx, chunk).await?;
        for receipt in chunk {
            // Taken out, so that a receipt that comes twice in one batch counts once.
            if inserted.remove(&(receipt.call_id, receipt.attempt)) {
                add(&mut sums, receipt);
            }
        }
    }
    for (slot, sum) in sums {
        write_sum(&mut tx, slot, sum).await?;
    }
    tx.commit().await.map_err(unavailable)
}

/// Inserts what is not there yet and says which rows those were.
async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    receipts: &[Receipt],
) -> Result<BTreeSet<(Ulid, u16)>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(INSERT);
    query.push_values(receipts, |mut row, receipt| {
        let usage = receipt.usage.as_ref();
        let tokens = |of: fn(&Usage) -> u64| usage.map(|usage| stored_tokens(of(usage)));
        row.push_bind(receipt.call_id.to_bytes().to_vec())
            .push_bind(i64::from(receipt.attempt))
            .push_bind(receipt.request_id.to_string())
            .push_bind(receipt.time_ms)
            .push_bind(receipt.caller.key_id.to_string())
            .push_bind(receipt.caller.project.as_deref().map(str::to_owned))
            .push_bind(receipt.requested_model.to_string())
            .push_bind(receipt.provider.to_string())
            .push_bind(receipt.model.to_string())
            .push_bind(receipt.upstream_model.to_string())
            .push_bind(i64::from(receipt.status))
            .push_bind(receipt.outcome.as_str())
            .push_bind(receipt.error)
            .push_bind(receipt.stream)
            .push_bind(receipt.ttft_ms.map(i64::from))
            .push_bind(i64::from(receipt.duration_ms))
            .push_bind(tokens(|usage| usage.prompt))
            .push_bind(tokens(|usage| usage.cache_read))
            .push_bind(tokens(|usage| usage.cache_write_5m))
            .push_bind(tokens(|usage| usage.cache_write_1h))
            .push_bind(tokens(|usage| usage.completion))
            .push_bind(usage.and_then(|usage| usage.reasoning).map(stored_tokens))
            .push_bind(tokens(|usage| usage.audio_input))
            .push_bind(tokens(|usage| usage.audio_output))
            .push_bind(tokens(|usage| usage.image_input))
            .push_bind(tokens(|usage| usage.image_output))
            .push_bind(tokens(|usage| usage.web_searches))
            .push_bind(receipt.estimated)
            .push_bind(receipt.cost.map(crate::money::Usd::units))
            .push_bind(receipt.service_tier.as_deref().map(str::to_owned))
            .push_bind(tags_json(&receipt.tags));
    });
    query.push(" ON CONFLICT (call_id, attempt) DO NOTHING RETURNING call_id, attempt");
    // Not kept prepared: the text differs with every size of a batch.
    let rows = query.build().persistent(false).fetch_all(&mut **tx).await.map_err(unavailable)?;
    let identity = |row| Ok((call_id(row)?, super::count(column(row, "attempt")?)));
    rows.iter().map(identity).collect()
}

/// The call id of a ledger row.
pub(super) fn call_id(row: &sqlx::sqlite::SqliteRow) -> Result<Ulid, StoreError> {
    let bytes: &[u8] = row.try_get("call_id").map_err(unavailable)?;
    let bytes =
        bytes.try_into().map_err(|_| StoreError::Unavailable("the store holds a broken call id".into()))?;
    Ok(Ulid::from_bytes(bytes))
}

fn add<'a>(sums: &mut BTreeMap<Slot<'a>, Sum>, receipt: &'a Receipt) {
    let slot = (
        receipt.time_ms.div_euclid(HOUR_MS),
        &*receipt.caller.key_id,
        receipt.caller.project.as_deref().unwrap_or(""),
        &*receipt.provider,
        &*receipt.model,
    );
    let sum = sums.entry(slot).or_default();
    let usage = receipt.usage.unwrap_or_default();
    sum.requests += 1;
    sum.errors += i64::from(receipt.outcome == Outcome::Failed);
    sum.unpriced += i64::from(receipt.cost.is_none());
    sum.prompt += stored_tokens(usage.prompt);
    sum.cached += stored_tokens(usage.cache_read);
    sum.cache_write += stored_tokens(usage.cache_write_5m) + stored_tokens(usage.cache_write_1h);
    sum.completion += stored_tokens(usage.completion);
    sum.reasoning += stored_tokens(usage.reasoning.unwrap_or_default());
    sum.cost += i128::from(receipt.cost.unwrap_or_default().units());
}

async fn write_sum(
    tx: &mut Transaction<'static, Sqlite>,
    slot: Slot<'_>,
    sum: Sum,
) -> Result<(), StoreError> {
    let (hour, key, project, provider, model) = slot;
    let (high, low) = (sum.cost >> 32, sum.cost & i128::from(u32::MAX));
    sqlx::query(ADD)
        .bind(hour)
        .bind(key)
        .bind(project)
        .bind(provider)
        .bind(model)
        .bind(sum.requests)
        .bind(sum.errors)
        .bind(sum.unpriced)
        .bind(sum.prompt)
        .bind(sum.cached)
        .bind(sum.cache_write)
        .bind(sum.completion)
        .bind(sum.reasoning)
        // A batch of 2^31 receipts would be needed to leave 64 bits.
        .bind(i64::try_from(high).unwrap_or(i64::MAX))
        .bind(i64::try_from(low).unwrap_or_default())
        .execute(&mut **tx)
        .await
        .map_err(unavailable)?;
    Ok(())
}

/// A token count as the ledger holds it: cut at 2^32 - 1, far above any real call, so that no upstream's nonsense
/// can make a sum overflow.
fn stored_tokens(tokens: u64) -> i64 {
    i64::from(u32::try_from(tokens).unwrap_or(u32::MAX))
}
