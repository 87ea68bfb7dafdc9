//! Settlement where the disk does not let it. The rest is tested with both stores, in tests/blackbox/stores.

use crate::receipt::Receipt;
use crate::store::Store as _;
use crate::store::testing::{receipt, store};

#[tokio::test]
async fn what_a_full_or_read_only_disk_refused_is_settled_once_it_is_neither() {
    let (_folder, store) = store().await;
    let batch: Vec<Receipt> = (0..777).map(receipt).collect();
    let settle = || async { store.settle(&batch).await.map_err(|error| error.to_string()) };
    let writer = store.writer.clone();
    let pragma = async |text: &'static str| sqlx::raw_sql(text).execute(&writer).await.unwrap();
    // What SQLite says of a file system that was mounted anew.
    pragma("PRAGMA query_only = ON").await;
    assert_eq!(settle().await, Err("the store failed: attempt to write a readonly database".to_owned()));
    pragma("PRAGMA query_only = OFF").await;
    // No page more than there are.
    pragma("PRAGMA max_page_count = 1").await;
    assert_eq!(settle().await, Err("the store failed: database or disk is full".to_owned()));
    pragma("PRAGMA max_page_count = 1000000").await;
    // A write that fails makes SQLite roll back by itself.
    let mut transaction = store.transaction().await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut *transaction).await.unwrap();
    drop(transaction);
    for _ in 0..2 {
        settle().await.unwrap();
        assert_eq!(store.usage(0, 1_000 * crate::rfc3339::HOUR_MS, &[]).await.unwrap()[0].requests, 777);
    }
}
