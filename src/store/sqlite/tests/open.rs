//! What opening makes, and how it refuses.

use std::os::unix::fs::PermissionsExt as _;

use super::super::SqliteStore;
use crate::rfc3339::HOUR_MS;
use crate::store::testing::{TempFolder, by, named, store};
use crate::store::{GroupBy, Handling, Store as _, StoreError};

fn refusal(result: Result<SqliteStore, StoreError>) -> String {
    let Err(StoreError::Unusable(text)) = result else { panic!("opened, or another error") };
    assert!(!text.contains('\n'), "{text}");
    text
}

#[tokio::test]
async fn the_file_and_its_companions_are_for_their_owner_alone() {
    let (folder, store) = store().await;
    store.create_key(named("a"), by(1)).await.unwrap();
    let modes: Vec<u32> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 3], "database, -wal, -shm");
}

#[tokio::test]
async fn a_file_open_to_others_is_closed_to_them() {
    let folder = TempFolder::new();
    let file = folder.path().join(SqliteStore::FILE_NAME);
    std::fs::write(&file, b"").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = TempFolder::new();
    std::fs::write(folder.path().join(SqliteStore::FILE_NAME), [b'x'; 4096]).unwrap();
    let text = refusal(SqliteStore::open(folder.path()).await);
    assert!(text.contains("is not a database. Move the file away"), "{text}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_refused() {
    let folder = TempFolder::new();
    let in_the_way = folder.path().join("file");
    std::fs::write(&in_the_way, b"").unwrap();
    let text = refusal(SqliteStore::open(&in_the_way).await);
    assert!(text.contains("Make data_dir a folder that this user can write"), "{text}");
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_and_keeps_its_keys_and_totals() {
    let folder = TempFolder::new();
    let file = folder.path().join(SqliteStore::FILE_NAME);
    let first = include_str!("../migrations/0001_initial.sql");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let old = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(first).execute(&old).await.unwrap();
    let key = "INSERT INTO keys (id, digest, prefix, name, models_allow, models_deny, tags, created_ms, revision) \
               VALUES ('key_1', zeroblob(32), 'lgw_abcd', 'old', '[]', '[]', '[]', 5, 1)";
    sqlx::raw_sql(key).execute(&old).await.unwrap();
    // Two hours of a day, the second one with a carry.
    let totals = "INSERT INTO usage_hourly VALUES (30, 'key_1', '', 'p', 'm', 2, 1, 0, 10, 0, 0, 5, 0, 0, 4294967295), \
                  (31, 'key_1', '', 'p', 'm', 1, 0, 1, 1, 0, 0, 1, 0, 1, 2)";
    sqlx::raw_sql(totals).execute(&old).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 1").execute(&old).await.unwrap();
    old.close().await;
    for _ in 0..2 {
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let record = store.key("key_1").await.unwrap();
        assert_eq!((record.spec.name.as_str(), record.spec.handling), ("old", Handling::default()));
        let usage = store.usage(24 * HOUR_MS, 48 * HOUR_MS, &[GroupBy::Day]).await.unwrap();
        let [day] = usage.as_slice() else { panic!("{usage:?}") };
        assert_eq!((day.requests, day.errors, day.unpriced, day.tokens.prompt), (3, 1, 1, 11));
        assert_eq!(
            (day.cost_units, day.charged_units),
            ((1 << 32) + 4_294_967_297, (1 << 32) + 4_294_967_297)
        );
        store.close().await;
    }
}
