//! Settlement: receipts into the ledger and its hourly totals, each exactly once.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Transaction};

use super::super::error::StoreError;
use super::super::sql::query::bind_sqlite as bind;
use super::super::sql::receipts::{COLUMNS, names, stored_name, stored_tokens, values};
use super::{SqliteStore, unavailable};
use crate::receipt::{Outcome, Receipt};
use crate::rfc3339::{HOUR_MS, QUARTER_MS};

/// An INSERT of some rows. There are few of them, so that each stays prepared.
struct Insert {
    rows: usize,
    text: Arc<str>,
}

/// The statements, largest first. 200 rows of 33 values are well below the 32,766 that SQLite can bind.
static INSERTS: LazyLock<[Insert; 4]> = LazyLock::new(|| {
    [200, 40, 8, 1].map(|rows| {
        let values = vec!["?"; COLUMNS.len()].join(",");
        let values = vec![format!("({values})"); rows].join(",");
        let text = format!(
            "INSERT INTO ledger ({}) VALUES {values} ON CONFLICT (call_id, attempt) DO NOTHING",
            names(),
        );
        Insert { rows, text: text.into() }
    })
});

/// Adds to one hour's totals; the carry of the low part of the cost goes into the high part.
const ADD: &str = "INSERT INTO usage_hourly (hour, key_id, project, provider, model, requests, errors, unpriced, \
    prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, cost_high, cost_low, \
    charged_high, charged_low) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (hour, key_id, project, provider, model) DO UPDATE SET \
    requests = requests + excluded.requests, errors = errors + excluded.errors, \
    unpriced = unpriced + excluded.unpriced, prompt_tokens = prompt_tokens + excluded.prompt_tokens, \
    cached_tokens = cached_tokens + excluded.cached_tokens, \
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens, \
    completion_tokens = completion_tokens + excluded.completion_tokens, \
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens, \
    cost_high = cost_high + excluded.cost_high + ((cost_low + excluded.cost_low) >> 32), \
    cost_low = (cost_low + excluded.cost_low) & 4294967295, \
    charged_high = charged_high + excluded.charged_high + ((charged_low + excluded.charged_low) >> 32), \
    charged_low = (charged_low + excluded.charged_low) & 4294967295";

/// Adds to what a set of tags was charged in a quarter of an hour.
const ADD_TAGS: &str = "INSERT INTO tag_spend (tags, quarter, charged_high, charged_low) VALUES (?, ?, ?, ?) \
    ON CONFLICT (tags, quarter) DO UPDATE SET \
    charged_high = charged_high + excluded.charged_high + ((charged_low + excluded.charged_low) >> 32), \
    charged_low = (charged_low + excluded.charged_low) & 4294967295";

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
    charged: i128,
}

/// Sums of one transaction, in the order in which they are written.
#[derive(Default)]
struct Sums<'a> {
    hourly: BTreeMap<Slot<'a>, Sum>,
    /// By set of tags and quarter of an hour.
    tags: BTreeMap<(&'a str, i64), i128>,
}

/// Books receipts. The usual case inserts many rows with one statement; a batch that holds a receipt which is
/// there already is done again row by row, since only then is it known which ones count.
pub(super) async fn settle(store: &SqliteStore, receipts: &[Receipt]) -> Result<(), StoreError> {
    if receipts.is_empty() || book(store, receipts, true).await? {
        return Ok(());
    }
    book(store, receipts, false).await.map(drop)
}

/// One transaction that outlasts a loss of power; false, and nothing done, when many rows at once were wanted and one was
/// there already.
async fn book(store: &SqliteStore, receipts: &[Receipt], many: bool) -> Result<bool, StoreError> {
    let mut connection = store.writer.acquire().await.map_err(unavailable)?;
    // The journal lets go of what is settled. Everybody else's commits are synchronised with the next of these: where one
    // waits for the disk, those that claim an idempotency key would wait with it.
    sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await.map_err(unavailable)?;
    let booked = book_in(&mut connection, receipts, many).await;
    // Should this fail, or never come, the next ones wait for the disk, too.
    let _ = sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *connection).await;
    booked
}

async fn book_in(
    connection: &mut SqliteConnection,
    receipts: &[Receipt],
    many: bool,
) -> Result<bool, StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
    let mut sums = Sums::default();
    let mut rest = receipts;
    while !rest.is_empty() {
        let fitting = INSERTS.iter().find(|insert| many && insert.rows <= rest.len());
        let statement = fitting.or(INSERTS.last()).ok_or_else(|| unavailable(sqlx::Error::RowNotFound))?;
        let (chunk, more) = rest.split_at(statement.rows);
        let inserted = insert(&mut tx, statement, chunk).await?;
        match chunk {
            _ if inserted == statement.rows as u64 => {
                chunk.iter().for_each(|receipt| add(&mut sums, receipt))
            }
            [_] => {}
            _ => return Ok(false),
        }
        rest = more;
    }
    for (slot, sum) in sums.hourly {
        write_sum(&mut tx, slot, sum).await?;
    }
    for ((tags, quarter), charged) in sums.tags {
        let (high, low) = halves(charged);
        let query = sqlx::query(ADD_TAGS).bind(tags).bind(quarter).bind(high).bind(low);
        query.execute(&mut *tx).await.map_err(unavailable)?;
    }
    tx.commit().await.map_err(unavailable)?;
    Ok(true)
}

/// Inserts what is not there yet; gives the number of rows.
async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
    statement: &Insert,
    receipts: &[Receipt],
) -> Result<u64, StoreError> {
    let query = sqlx::query(AssertSqlSafe(Arc::clone(&statement.text)));
    let query = receipts.iter().flat_map(values).fold(query, bind);
    let done = query.execute(&mut **tx).await.map_err(unavailable)?;
    Ok(done.rows_affected())
}

fn add<'a>(sums: &mut Sums<'a>, receipt: &'a Receipt) {
    let slot = (
        receipt.time_ms.div_euclid(HOUR_MS),
        &*receipt.caller.key_id,
        receipt.caller.project.as_deref().unwrap_or(""),
        &*receipt.provider,
        stored_name(&receipt.model),
    );
    let charged = i128::from(receipt.charged.unwrap_or_default().units());
    for tags in receipt.tag_sets.iter() {
        *sums.tags.entry((tags, receipt.time_ms.div_euclid(QUARTER_MS))).or_default() += charged;
    }
    let sum = sums.hourly.entry(slot).or_default();
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
    sum.charged += charged;
}

async fn write_sum(tx: &mut Transaction<'_, Sqlite>, slot: Slot<'_>, sum: Sum) -> Result<(), StoreError> {
    let (hour, key, project, provider, model) = slot;
    let ((high, low), (charged_high, charged_low)) = (halves(sum.cost), halves(sum.charged));
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
        .bind(high)
        .bind(low)
        .bind(charged_high)
        .bind(charged_low)
        .execute(&mut **tx)
        .await
        .map_err(unavailable)?;
    Ok(())
}

/// A sum of money as two numbers that can be added for ever: the low one has 32 bits.
fn halves(units: i128) -> (i64, i64) {
    let (high, low) = (units >> 32, units & i128::from(u32::MAX));
    // A batch of 2^31 receipts would be needed to leave 64 bits.
    (i64::try_from(high).unwrap_or(i64::MAX), i64::try_from(low).unwrap_or_default())
}
