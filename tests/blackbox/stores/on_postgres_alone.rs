//! What only PostgreSQL has: addresses, TLS, deadlocks.

use futures_util::future::join;
use llm_gateway::receipt::Receipt;
use llm_gateway::rfc3339::HOUR_MS;
use llm_gateway::store::{self, GroupBy, StoreError};
use serde_json::json;
use sqlx::Connection as _;

use super::{Place, by, named, settings};
use crate::support::eventually;
use crate::support::postgres::{Cluster, PASSWORD};
use crate::support::receipts::receipt;

/// What opening a store at this address says.
async fn said_of(url: String) -> StoreError {
    let folder = tempfile::TempDir::new().unwrap();
    let Err(error) = store::open(&settings(folder.path(), json!({"url": url}))).await.map(drop) else {
        panic!("opened")
    };
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains(PASSWORD) && !text.contains("hunter2"), "{text}");
    error
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_one_clear_line_without_the_password() {
    let there = Cluster::shared().url("nowhere");
    let cases = [
        (there.clone(), "database \"nowhere\" does not exist. Make it with CREATE DATABASE."),
        (there.replace(PASSWORD, "hunter2"), "password authentication failed for user \"gateway\""),
        (format!("{there}?sslmode=require"), "See `sslmode` in database.url."),
        (format!("{there}?sslmode=hunter2"), "database.url cannot be read"),
        (format!("postgres://u:{PASSWORD}@[::1/x"), "database.url cannot be read"),
    ];
    for (url, expected) in cases {
        let error = said_of(url.clone()).await;
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unusable(_)) && text.contains(expected), "{url}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_yet() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = said_of(format!("postgres://gateway:{PASSWORD}@{free}/gateway")).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains(&format!("cannot reach the store gateway at {free}")), "{error}");
}

#[tokio::test]
async fn a_server_that_offers_tls_is_asked_over_it() {
    let cluster = Cluster::start();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    cluster.offer_tls(&made.cert.pem(), &made.signing_key.serialize_pem()).await;
    let url = cluster.database().await;
    let folder = tempfile::TempDir::new().unwrap();
    let store = store::open(&settings(folder.path(), json!({"url": format!("{url}?sslmode=require")})))
        .await
        .unwrap();
    store.create_key(named("a"), by(1)).await.unwrap();
    let mut other = cluster.connection(&url).await;
    let over_tls = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                    WHERE ssl AND application_name = 'llm-gateway'";
    let count: i64 = sqlx::query_scalar(over_tls).fetch_one(&mut other).await.unwrap();
    assert_eq!(count, 1);
    // Nobody signed its certificate.
    let text = said_of(format!("{url}?sslmode=verify-full")).await.to_string();
    assert!(text.contains("See `sslmode`"), "{text}");
}

#[tokio::test]
async fn a_settlement_that_the_server_breaks_off_for_a_deadlock_is_done_again() {
    let place = Place::postgres().await;
    let store = place.open().await;
    let batch = || -> Vec<Receipt> { [1, HOUR_MS + 1].map(receipt).into() };
    store.settle(&batch()).await.unwrap();
    let url = place.url.as_ref().unwrap();
    let mut other = Cluster::shared().connection(url).await;
    // Theirs is the more patient one, so that ours is broken off.
    sqlx::raw_sql("SET deadlock_timeout = '60s'").execute(&mut other).await.unwrap();
    let mut theirs = other.begin().await.unwrap();
    let lock = "SELECT hour FROM usage_hourly WHERE hour = $1 FOR UPDATE";
    sqlx::query(lock).bind(1_i64).execute(&mut *theirs).await.unwrap();
    let opposite = async {
        let happens = |what: &'static str, counting: &'static str| {
            eventually(what, move || async move {
                let mut watching = Cluster::shared().connection(url).await;
                let count: i64 = sqlx::query_scalar(counting).fetch_one(&mut watching).await.unwrap();
                (count > 0).then_some(())
            })
        };
        // Ours has the first hour and waits for the second.
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND datname = current_database() AND application_name = 'llm-gateway'";
        happens("a settlement waits", waiting).await;
        sqlx::query(lock).bind(0_i64).execute(&mut *theirs).await.unwrap();
        theirs.commit().await.unwrap();
        let broken = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        happens("the server tells of a deadlock", broken).await;
    };
    let second = batch();
    let (settled, ()) = join(store.settle(&second), opposite).await;
    settled.unwrap();
    assert_eq!(store.usage(0, 2 * HOUR_MS, &[]).await.unwrap()[0].requests, 4);
}

#[tokio::test]
async fn totals_by_day_hold_what_was_there_before_them_and_what_an_older_replica_adds() {
    let place = Place::postgres().await;
    let day = 24 * HOUR_MS;
    let store = place.open().await;
    store.settle(&[receipt(1), receipt(HOUR_MS), receipt(day)]).await.unwrap();
    let mut other = Cluster::shared().connection(place.url.as_ref().unwrap()).await;
    let back = "DROP TRIGGER usage_hourly_added ON usage_hourly; DROP TRIGGER usage_hourly_raised ON usage_hourly; \
                DROP FUNCTION usage_hourly_added; DROP FUNCTION usage_hourly_raised; DROP TABLE usage_daily";
    sqlx::raw_sql(back).execute(&mut other).await.unwrap();
    store.settle(&[receipt(2)]).await.unwrap();
    // What settles after it is a replica that knew nothing of days when it began.
    let migration = include_str!("../../../src/store/postgres/migrations/0006_daily_usage.sql");
    sqlx::raw_sql(migration).execute(&mut other).await.unwrap();
    let newer = place.open().await;
    store.settle(&[receipt(3), receipt(2 * HOUR_MS)]).await.unwrap();
    let usage = newer.usage(0, 2 * day, &[GroupBy::Day]).await.unwrap();
    assert_eq!(usage.iter().map(|row| row.requests).collect::<Vec<_>>(), [5, 1]);
    let from_ledger = newer.usage(0, 2 * day + 1, &[GroupBy::Day]).await.unwrap();
    assert_eq!(usage, from_ledger);
}
