//! What opening makes, and how it refuses.

use std::os::unix::fs::PermissionsExt as _;

use futures_util::FutureExt as _;

use super::super::SqliteStore;
use crate::store::testing::{TempFolder, by, named, store};
use crate::store::{Handling, Store as _, StoreError};

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
async fn what_was_written_is_there_after_reopening() {
    let (folder, store) = store().await;
    let (record, _) = store.create_key(named("a"), by(1)).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(&folder.path().join(".")).await.unwrap();
    assert_eq!(store.key(&record.id).await.unwrap(), record);
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
async fn a_schema_newer_than_the_binary_is_refused_and_left_alone() {
    let (folder, store) = store().await;
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&store.writer).await.unwrap();
    store.close().await;
    for _ in 0..2 {
        let text = refusal(SqliteStore::open(folder.path()).await);
        assert!(text.contains("schema is version 99, this binary knows 4"), "{text}");
    }
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_and_keeps_its_keys() {
    let folder = TempFolder::new();
    let file = folder.path().join(SqliteStore::FILE_NAME);
    let first = include_str!("../migrations/0001_initial.sql");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let old = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(first).execute(&old).await.unwrap();
    let key = "INSERT INTO keys (id, digest, prefix, name, models_allow, models_deny, tags, created_ms, revision) \
               VALUES ('key_1', zeroblob(32), 'lgw_abcd', 'old', '[]', '[]', '[]', 5, 1)";
    sqlx::raw_sql(key).execute(&old).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 1").execute(&old).await.unwrap();
    old.close().await;
    for _ in 0..2 {
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let record = store.key("key_1").await.unwrap();
        assert_eq!((record.spec.name.as_str(), record.spec.handling), ("old", Handling::default()));
        store.close().await;
    }
}

#[test]
fn a_store_outlives_the_runtime_that_opened_it() {
    // Every cell has a runtime of its own; the store is opened on one of them.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (_folder, store) = first.block_on(store());
    drop(first);
    let threads: Vec<_> = (0..3)
        .map(|at| {
            let store = store.clone();
            std::thread::spawn(move || runtime().block_on(store.create_key(named("a"), by(at))).unwrap())
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let keys = runtime().block_on(store.keys(None, 10)).unwrap();
    assert_eq!(keys.data.len(), 3);
}

#[tokio::test]
async fn a_write_that_is_abandoned_leaves_nothing_and_blocks_nobody() {
    let (_folder, store) = store().await;
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
