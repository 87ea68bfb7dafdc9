//! Opening: many at once, what a schema of another version means, and which runtime a store needs.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use llm_gateway::store::{self, Migrated, Store, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::{Place, by, named, on_both};
use crate::support::postgres::PASSWORD;

on_both! {
    what_was_written_is_there_after_reopening,
    stores_that_open_at_once_make_one_schema,
    a_schema_newer_than_the_binary_is_refused_and_left_alone,
    an_old_schema_is_refused_where_nobody_may_change_it_until_it_was_migrated,
    a_write_that_is_abandoned_leaves_nothing_and_blocks_nobody,
}

/// Says the version that the schema has.
async fn set_version(place: &Place, version: i64) {
    match &place.url {
        None => {
            let file = place.folder.path().join("data/gateway.db");
            let mut opened = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
            let text = format!("PRAGMA user_version = {version}");
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut opened).await.unwrap();
            opened.close().await.unwrap();
        }
        Some(url) => {
            let mut opened = PgConnection::connect(url).await.unwrap();
            let text = format!("UPDATE schema_version SET version = {version}");
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut opened).await.unwrap();
        }
    }
}

async fn what_was_written_is_there_after_reopening(place: Place) {
    let store = place.open().await;
    let (record, _) = store.create_key(named("a"), by(1)).await.unwrap();
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.key(&record.id).await.unwrap(), record);
}

async fn stores_that_open_at_once_make_one_schema(place: Place) {
    // Not more: unoptimised, the proof of a password takes so long that on a busy machine all of them would time out together.
    let opened = join_all((0..6).map(|_| place.open())).await;
    for (at, store) in opened.iter().enumerate() {
        store.create_key(named("k"), by(at as i64)).await.unwrap();
    }
    assert_eq!(opened[0].keys(None, 100).await.unwrap().data.len(), 6);
}

fn refusal(result: Result<Arc<dyn Store>, StoreError>) -> String {
    let Err(StoreError::Unusable(text)) = result else { panic!("opened, or another error") };
    assert!(!text.contains('\n') && !text.contains(PASSWORD), "{text}");
    text
}

async fn a_schema_newer_than_the_binary_is_refused_and_left_alone(place: Place) {
    place.open().await.close().await;
    let Migrated { from, to } = store::migrate(&place.settings()).await.unwrap();
    assert_eq!(from, to);
    set_version(&place, 99).await;
    for _ in 0..2 {
        let text = refusal(store::open(&place.settings()).await);
        assert!(text.contains(&format!("schema is version 99, this binary knows {to}")), "{text}");
    }
}

async fn an_old_schema_is_refused_where_nobody_may_change_it_until_it_was_migrated(place: Place) {
    let mut settings = place.settings();
    settings.database.migrate = false;
    let text = refusal(store::open(&settings).await);
    assert!(text.contains("schema is version 0") && text.contains("Run `llm-gateway migrate`"), "{text}");
    let made = store::migrate(&settings).await.unwrap();
    assert_eq!(made.from, 0);
    assert!(made.to >= 2);
    store::open(&settings).await.unwrap().close().await;
}

fn outlives_its_runtime(place: Place) {
    // Every cell has a runtime of its own; the store is opened on one of them.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let store = first.block_on(async {
        let store = place.open().await;
        store.create_key(named("first"), by(1)).await.unwrap();
        store
    });
    drop(first);
    let threads: Vec<_> = (0..3)
        .map(|at| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || runtime().block_on(store.create_key(named("a"), by(at))).unwrap())
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let keys = runtime().block_on(store.keys(None, 10)).unwrap();
    assert_eq!(keys.data.len(), 4);
}

#[test]
fn a_store_outlives_the_runtime_that_opened_it_in_sqlite() {
    outlives_its_runtime(Place::sqlite());
}

#[test]
fn a_store_outlives_the_runtime_that_opened_it_in_postgres() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    outlives_its_runtime(runtime.block_on(Place::postgres()));
}

async fn a_write_that_is_abandoned_leaves_nothing_and_blocks_nobody(place: Place) {
    let store = place.open().await;
    for polls in 0..40 {
        // Dropped after a few polls, at another place each time: as when a client leaves.
        let mut write = store.create_key(named("abandoned"), by(1));
        for _ in 0..polls {
            if (&mut write).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    store.create_key(named("kept"), by(2)).await.unwrap();
    let kept = store.keys_changed_since(0, 100).await.unwrap();
    assert_eq!(kept.last().unwrap().spec.name, "kept");
    let audited = store.audit(None, 100).await.unwrap().data.len();
    assert_eq!(audited, kept.len(), "a key and its audit row come and go together");
}
