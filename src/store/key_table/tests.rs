//! The table against a store without a file.

use std::num::NonZeroU32;

use super::*;
use crate::store::testing::{TempFolder, by, named};
use crate::store::{KeyPatch, SqliteStore};

async fn table_with(rules: ModelRules) -> (TempFolder, SqliteStore, KeyTable, String, key::FreshKey) {
    let (folder, store) = crate::store::testing::store().await;
    let mut spec = named("a");
    spec.models = rules;
    spec.limits.tpm = NonZeroU32::new(1000);
    spec.project = Some("p".into());
    let (record, key) = store.create_key(spec, by(1)).await.unwrap();
    let table = KeyTable::new();
    table.refresh(&store).await.unwrap();
    (folder, store, table, record.id, key)
}

#[tokio::test]
async fn only_a_live_key_is_let_in_and_every_refusal_is_the_same() {
    let (_folder, store, table, id, key) = table_with(ModelRules::default()).await;
    let entry = table.authenticate(key.expose(), 5).unwrap();
    assert_eq!((&*entry.caller.key_id, entry.caller.project.as_deref()), (id.as_str(), Some("p")));
    let stranger = key::FreshKey::generate().unwrap();
    let known_prefix = format!("{}{}", &key.expose()[..8], &stranger.expose()[8..]);
    let long = "lgw_".repeat(250_000);
    for text in ["", "lgw_", "' OR 1=1", stranger.expose(), &known_prefix, &long, &key.expose()[..49]] {
        assert_eq!(table.authenticate(text, 5).unwrap_err(), Error::InvalidKey);
    }
    let expiry = KeyPatch { expires_ms: Some(Some(10)), ..KeyPatch::default() };
    store.update_key(&id, expiry, by(6)).await.unwrap();
    table.refresh(&store).await.unwrap();
    table.authenticate(key.expose(), 9).unwrap();
    assert_eq!(table.authenticate(key.expose(), 10).unwrap_err(), Error::InvalidKey);
}

#[tokio::test]
async fn a_rotated_key_leaves_its_old_text_behind() {
    let (_folder, store, table, id, old) = table_with(ModelRules::default()).await;
    let (_, new) = store.rotate_key(&id, by(2)).await.unwrap();
    table.refresh(&store).await.unwrap();
    assert_eq!(table.authenticate(old.expose(), 3).unwrap_err(), Error::InvalidKey);
    table.authenticate(new.expose(), 3).unwrap();
    assert_eq!(table.len(), 1);
}

#[tokio::test]
async fn what_a_key_has_used_outlives_every_refresh() {
    let (_folder, store, table, id, key) = table_with(ModelRules::default()).await;
    let now = Instant::now();
    let used = table.authenticate(key.expose(), 5).unwrap();
    used.quota.admit(700, now).unwrap().settle(700);
    let rename = KeyPatch { name: Some("b".into()), ..KeyPatch::default() };
    store.update_key(&id, rename, by(6)).await.unwrap();
    table.refresh(&store).await.unwrap();
    let renamed = table.authenticate(key.expose(), 7).unwrap();
    assert_eq!(renamed.name, "b");
    assert!(Arc::ptr_eq(&renamed.quota, &used.quota));
    let wider = KeyPatch { tpm: Some(NonZeroU32::new(2000)), ..KeyPatch::default() };
    store.update_key(&id, wider, by(8)).await.unwrap();
    table.refresh(&store).await.unwrap();
    let widened = table.authenticate(key.expose(), 9).unwrap();
    assert_eq!(widened.quota.snapshot(now).tokens.unwrap().remaining, 1300);
}

#[tokio::test]
async fn models_are_matched_with_and_without_their_provider_and_deny_wins() {
    let rules = |allow: &[&str], deny: &[&str]| ModelRules {
        allow: allow.iter().map(|&pattern| pattern.to_owned()).collect(),
        deny: deny.iter().map(|&pattern| pattern.to_owned()).collect(),
    };
    for (rules, allowed, refused) in [
        (rules(&[], &[]), vec!["gpt-5"], vec![]),
        (rules(&["gpt-5*"], &[]), vec!["gpt-5", "gpt-5-mini"], vec!["o1"]),
        (rules(&["openai/*"], &[]), vec!["gpt-5", "o1"], vec![]),
        (rules(&["groq/*"], &[]), vec![], vec!["gpt-5"]),
        (rules(&[], &["openai/o1"]), vec!["gpt-5"], vec!["o1"]),
        (rules(&["*"], &["gpt-5"]), vec!["gpt-5-mini"], vec!["gpt-5"]),
    ] {
        let (_folder, _store, table, _, key) = table_with(rules.clone()).await;
        let entry = table.authenticate(key.expose(), 5).unwrap();
        assert!(allowed.iter().all(|model| entry.may_use(model, "openai")), "{rules:?}");
        assert!(!refused.iter().any(|model| entry.may_use(model, "openai")), "{rules:?}");
    }
}

#[tokio::test]
async fn polling_takes_over_changes_and_outlives_a_store_that_fails() {
    let (_folder, store, table, id, key) = table_with(ModelRules::default()).await;
    let revoked = async {
        store.revoke_key(&id, by(2)).await.unwrap();
        while table.authenticate(key.expose(), 5).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let (_told, heard) = tokio::sync::watch::channel(0);
    tokio::select! {
        () = table.poll(&store, Duration::from_millis(1), heard) => unreachable!("polling never ends"),
        () = revoked => {}
    }
    store.close().await;
    table.refresh(&store).await.unwrap_err();
}

#[tokio::test]
async fn word_of_a_change_elsewhere_is_followed_at_once() {
    let (_folder, store, table, id, key) = table_with(ModelRules::default()).await;
    let (told, heard) = tokio::sync::watch::channel(0);
    let revoked = async {
        store.revoke_key(&id, by(2)).await.unwrap();
        told.send_modify(|count| *count += 1);
        while table.authenticate(key.expose(), 5).is_ok() {
            tokio::task::yield_now().await;
        }
        // Polling goes on when nobody is left to tell.
        drop(told);
        tokio::task::yield_now().await;
    };
    tokio::select! {
        () = table.poll(&store, Duration::from_secs(3_600), heard) => unreachable!("polling never ends"),
        () = revoked => {}
    }
}
