//! Settlement: one statement books a batch and adds what was really inserted to the hourly totals.
//!
//! Rows are inserted, and totals added to, in the order of their keys: replicas that settle at once wait for each other
//! in the same order and cannot deadlock. Should the server break one off all the same, it is tried again.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use tokio::time::sleep;

use super::super::error::StoreError;
use super::super::sql::query::{Value, clean};
use super::super::sql::receipts::{COLUMNS, Kind, names, values};
use super::{PostgresStore, unavailable};
use crate::receipt::Receipt;

/// How often a transaction that the server broke off is tried.
const TRIES: u32 = 5;
/// Pause before the second try; longer before each further one.
const PAUSE: Duration = Duration::from_millis(10);

/// What of an inserted row goes into the totals.
const SUMMED: &str = "time_ms, key_id, project, provider, model, outcome, cost, prompt_tokens, cached_tokens, \
    cache_write_5m_tokens, cache_write_1h_tokens, completion_tokens, reasoning_tokens, charged, tag_sets";

/// The statement. Each column of the ledger is one array.
static SETTLE: LazyLock<Arc<str>> = LazyLock::new(|| {
    let array = |(at, (_, kind)): (usize, (&str, Kind))| {
        let of = match kind {
            Kind::Int => "bigint",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
            Kind::Flag => "boolean",
        };
        format!("${}::{of}[]", at + 1)
    };
    let arrays: Vec<String> = COLUMNS.into_iter().enumerate().map(array).collect();
    let (arrays, names) = (arrays.join(", "), names());
    format!(
        "WITH inserted AS ( \
             INSERT INTO ledger ({names}) SELECT {names} FROM unnest({arrays}) AS receipt ({names}) \
             ORDER BY call_id, attempt ON CONFLICT (call_id, attempt) DO NOTHING RETURNING {SUMMED} \
         ), sums AS ( \
             SELECT time_ms / 3600000 AS hour, key_id, coalesce(project, '') AS project, provider, model, \
                 count(*) AS requests, count(*) FILTER (WHERE outcome = 'failed') AS errors, \
                 count(*) FILTER (WHERE cost IS NULL) AS unpriced, sum(prompt_tokens) AS prompt, \
                 sum(cached_tokens) AS cached, sum(cache_write_5m_tokens + cache_write_1h_tokens) AS cache_write, \
                 sum(completion_tokens) AS completion, sum(reasoning_tokens) AS reasoning, \
                 coalesce(sum(cost >> 32), 0)::bigint AS high, coalesce(sum(cost & 4294967295), 0)::bigint AS low, \
                 coalesce(sum(charged >> 32), 0)::bigint AS charged_up, \
                 coalesce(sum(charged & 4294967295), 0)::bigint AS charged_down \
             FROM inserted GROUP BY 1, 2, 3, 4, 5 \
         ), tag_sums AS ( \
             SELECT one.tags, time_ms / 900000 AS quarter, coalesce(sum(charged >> 32), 0)::bigint AS high, \
                 coalesce(sum(charged & 4294967295), 0)::bigint AS low \
             FROM inserted CROSS JOIN LATERAL jsonb_array_elements_text(tag_sets::jsonb) AS one (tags) GROUP BY 1, 2 \
         ), tagged AS ( \
             INSERT INTO tag_spend AS old (tags, quarter, charged_high, charged_low) \
             SELECT tags, quarter, high + (low >> 32), low & 4294967295 FROM tag_sums ORDER BY tags, quarter \
             ON CONFLICT (tags, quarter) DO UPDATE SET \
                 charged_high = old.charged_high + excluded.charged_high \
                     + ((old.charged_low + excluded.charged_low) >> 32), \
                 charged_low = (old.charged_low + excluded.charged_low) & 4294967295 \
         ) \
         INSERT INTO usage_hourly AS old (hour, key_id, project, provider, model, requests, errors, unpriced, \
             prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, cost_high, cost_low, \
             charged_high, charged_low) \
         SELECT hour, key_id, project, provider, model, requests, errors, unpriced, coalesce(prompt, 0), \
             coalesce(cached, 0), coalesce(cache_write, 0), coalesce(completion, 0), coalesce(reasoning, 0), \
             high + (low >> 32), low & 4294967295, \
             charged_up + (charged_down >> 32), charged_down & 4294967295 \
         FROM sums ORDER BY hour, key_id, project, provider, model \
         ON CONFLICT (hour, key_id, project, provider, model) DO UPDATE SET \
             requests = old.requests + excluded.requests, errors = old.errors + excluded.errors, \
             unpriced = old.unpriced + excluded.unpriced, \
             prompt_tokens = old.prompt_tokens + excluded.prompt_tokens, \
             cached_tokens = old.cached_tokens + excluded.cached_tokens, \
             cache_write_tokens = old.cache_write_tokens + excluded.cache_write_tokens, \
             completion_tokens = old.completion_tokens + excluded.completion_tokens, \
             reasoning_tokens = old.reasoning_tokens + excluded.reasoning_tokens, \
             cost_high = old.cost_high + excluded.cost_high + ((old.cost_low + excluded.cost_low) >> 32), \
             cost_low = (old.cost_low + excluded.cost_low) & 4294967295, \
             charged_high = old.charged_high + excluded.charged_high + ((old.charged_low + excluded.charged_low) >> 32), \
             charged_low = (old.charged_low + excluded.charged_low) & 4294967295"
    )
    .into()
});

/// Books receipts.
pub(super) async fn settle(store: &PostgresStore, receipts: &[Receipt]) -> Result<(), StoreError> {
    if receipts.is_empty() {
        return Ok(());
    }
    for pause in 1..TRIES {
        match book(store, receipts).await {
            Err(error) if was_broken_off(&error) => sleep(PAUSE * pause).await,
            done => return done.map_err(unavailable),
        }
    }
    book(store, receipts).await.map_err(unavailable)
}

async fn book(store: &PostgresStore, receipts: &[Receipt]) -> Result<(), sqlx::Error> {
    let mut columns = COLUMNS.map(|(_, kind)| (kind, Vec::with_capacity(receipts.len())));
    for receipt in receipts {
        for ((_, column), value) in columns.iter_mut().zip(values(receipt)) {
            column.push(value);
        }
    }
    let query =
        columns.into_iter().fold(sqlx::query(AssertSqlSafe(Arc::clone(&SETTLE))), |query, (kind, column)| {
            bind(query, kind, column)
        });
    query.execute(&store.pool).await.map(drop)
}

/// Binds a column as an array. A value of another kind than the column's would be NULL.
fn bind(
    query: Query<'static, Postgres, PgArguments>,
    kind: Kind,
    column: Vec<Value>,
) -> Query<'static, Postgres, PgArguments> {
    fn array<T>(column: Vec<Value>, of: impl Fn(Value) -> Option<T>) -> Vec<Option<T>> {
        column.into_iter().map(of).collect()
    }
    match kind {
        Kind::Int => {
            query.bind(array(column, |value| if let Value::Int(value) = value { value } else { None }))
        }
        Kind::Text => {
            query.bind(array(
                column,
                |value| {
                    if let Value::Text(value) = value { value.map(clean) } else { None }
                },
            ))
        }
        Kind::Bytes => query
            .bind(array(column, |value| if let Value::Bytes(value) = value { Some(value) } else { None })),
        Kind::Flag => {
            query.bind(array(column, |value| if let Value::Flag(value) = value { Some(value) } else { None }))
        }
    }
}

/// True for a deadlock and for a conflict between transactions: nothing was booked, and the next try may succeed.
fn was_broken_off(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40001" | "40P01"))
}
