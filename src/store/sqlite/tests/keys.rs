//! Keys: what is stored of them, how they change, who notices.

use std::num::NonZeroU32;

use crate::chat::Routing;
use crate::error::Error;
use crate::policy::admission::Priority;
use crate::policy::quota::Limits;
use crate::store::testing::{by, named, store};
use crate::store::{Handling, KeyPatch, KeySpec, KeyTable, ModelRules, SqliteStore, Store as _, StoreError};

fn status(error: &StoreError) -> u16 {
    Error::from(error.clone()).class().status
}

#[tokio::test]
async fn every_field_comes_back_as_it_went_in() {
    let (_folder, store) = store().await;
    let spec = KeySpec {
        name: "all".into(),
        project: Some("search".into()),
        expires_ms: Some(77),
        models: ModelRules { allow: vec!["gpt-*".into()], deny: vec!["*/o1".into(), "\"".into()] },
        limits: Limits {
            rpm: NonZeroU32::new(1),
            tpm: NonZeroU32::new(u32::MAX),
            concurrency: NonZeroU32::new(3),
        },
        budget: Some(crate::policy::budget::Budget::new(
            "12.5".parse().unwrap(),
            crate::policy::budget::Period::Month,
        )),
        markup: crate::money::Markup::from_basis_points(-250),
        handling: Handling {
            share: 7,
            max_priority: Priority::High,
            routing: Some(Routing::Latency),
            explain: true,
        },
        tags: vec![("team".into(), "x y".into())],
    };
    let (record, _) = store.create_key(spec.clone(), by(5)).await.unwrap();
    assert_eq!(record.spec, spec);
    assert_eq!(store.key(&record.id).await.unwrap(), record);
}

#[tokio::test]
async fn no_file_ever_holds_a_key() {
    let (folder, store) = store().await;
    let (record, first) = store.create_key(named("a"), by(1)).await.unwrap();
    let (_, second) = store.rotate_key(&record.id, by(2)).await.unwrap();
    store.revoke_key(&record.id, by(3)).await.unwrap();
    let mut seen_prefix = false;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for key in [&first, &second] {
            seen_prefix |= holds(key.prefix());
            // Some bytes more than the prefix: one could be the first of the next column by chance.
            assert!(!holds(&key.expose()[..key.prefix().len() + 5]));
            assert!(!holds(&key.expose()[8..24]));
        }
    }
    assert!(seen_prefix, "else this test looks in the wrong place");
}

#[tokio::test]
async fn every_change_leaves_one_audit_row_without_digest() {
    let (_folder, store) = store().await;
    let (record, _) = store.create_key(named("a"), by(1)).await.unwrap();
    let rename = KeyPatch { name: Some("b".into()), ..KeyPatch::default() };
    store.update_key(&record.id, rename.clone(), by(2)).await.unwrap();
    store.update_key(&record.id, rename, by(3)).await.unwrap();
    store.rotate_key(&record.id, by(4)).await.unwrap();
    store.revoke_key(&record.id, by(5)).await.unwrap();
    store.revoke_key(&record.id, by(6)).await.unwrap();
    let trail = store.audit(None, 100).await.unwrap().data;
    let seen: Vec<_> =
        trail.iter().map(|row| (row.action.as_str(), row.time_ms, row.before.is_some())).collect();
    assert_eq!(
        seen,
        [("key.revoke", 5, true), ("key.rotate", 4, true), ("key.update", 2, true), ("key.create", 1, false)]
    );
    assert!(trail.iter().all(|row| row.object == record.id && row.actor == "test"));
    let update: serde_json::Value = serde_json::from_str(trail[2].after.as_ref().unwrap()).unwrap();
    assert_eq!(update["name"], "b");
    assert!(update.get("digest").is_none());
    let next = store.audit(None, 3).await.unwrap().next_cursor.unwrap();
    assert_eq!(store.audit(Some(&next), 3).await.unwrap().data, trail[3..]);
}

#[tokio::test]
async fn a_revoked_key_cannot_be_changed_and_an_unknown_one_not_found() {
    let (_folder, store) = store().await;
    let (record, _) = store.create_key(named("a"), by(1)).await.unwrap();
    store.revoke_key(&record.id, by(2)).await.unwrap();
    let patch = KeyPatch::default;
    assert_eq!(status(&store.update_key(&record.id, patch(), by(3)).await.unwrap_err()), 409);
    assert_eq!(status(&store.rotate_key(&record.id, by(3)).await.unwrap_err()), 409);
    for id in ["", "key_0", "' OR 1=1 --"] {
        assert_eq!(status(&store.key(id).await.unwrap_err()), 404);
        assert_eq!(status(&store.update_key(id, patch(), by(3)).await.unwrap_err()), 404);
        assert_eq!(status(&store.revoke_key(id, by(3)).await.unwrap_err()), 404);
    }
    assert_eq!(status(&store.create_key(named(""), by(3)).await.unwrap_err()), 400);
}

#[tokio::test]
async fn pages_of_keys_hold_each_key_once_whatever_is_made_meanwhile() {
    let (_folder, store) = store().await;
    let mut expected = Vec::new();
    for at in 0..7 {
        expected.insert(0, store.create_key(named("k"), by(at)).await.unwrap().0.id);
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.keys(cursor.as_deref(), 3).await.unwrap();
        seen.extend(page.data.into_iter().map(|record| record.id));
        store.create_key(named("late"), by(100)).await.unwrap();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    for bad in ["x", "key_", "key_1; DROP TABLE keys"] {
        assert_eq!(status(&store.keys(Some(bad), 3).await.unwrap_err()), 400);
    }
}

#[tokio::test]
async fn a_change_made_through_another_handle_is_taken_over_by_the_next_refresh() {
    let (folder, here) = store().await;
    let there = SqliteStore::open(folder.path()).await.unwrap();
    let table = KeyTable::new(std::sync::Arc::default());
    let (record, key) = there.create_key(named("a"), by(1)).await.unwrap();
    assert_eq!(table.authenticate(key.expose(), 2).unwrap_err(), Error::InvalidKey);
    table.refresh(&here).await.unwrap();
    assert_eq!(&*table.authenticate(key.expose(), 2).unwrap().caller.key_id, record.id);
    there.revoke_key(&record.id, by(3)).await.unwrap();
    table.refresh(&here).await.unwrap();
    assert_eq!(table.authenticate(key.expose(), 4).unwrap_err(), Error::InvalidKey);
    assert!(table.is_empty());
}

#[tokio::test]
async fn two_handles_that_write_at_once_lose_no_revision() {
    let (folder, here) = store().await;
    let there = SqliteStore::open(folder.path()).await.unwrap();
    let many = |store: SqliteStore| async move {
        for at in 0..20 {
            store.create_key(named("k"), by(at)).await.unwrap();
        }
    };
    futures_util::future::join(many(here.clone()), many(there)).await;
    let revisions: Vec<i64> =
        here.keys_changed_since(0, 100).await.unwrap().iter().map(|record| record.revision).collect();
    assert_eq!(revisions, (1..=40).collect::<Vec<_>>());
}
