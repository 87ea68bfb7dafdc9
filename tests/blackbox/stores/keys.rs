//! Keys: what is stored of them, how they change, who notices.

use std::num::NonZeroU32;
use std::sync::Arc;

use llm_gateway::chat::Routing;
use llm_gateway::error::Error;
use llm_gateway::money::Markup;
use llm_gateway::policy::admission::Priority;
use llm_gateway::policy::budget::{Budget, Period};
use llm_gateway::policy::quota::Limits;
use llm_gateway::store::{Handling, KeyPatch, KeySpec, KeyTable, ModelRules, Store};

use super::{Place, by, named, on_both, status};

on_both! {
    every_field_comes_back_as_it_went_in,
    every_change_leaves_one_audit_row_without_digest,
    a_revoked_key_cannot_be_changed_and_an_unknown_one_not_found,
    pages_of_keys_hold_each_key_once_whatever_is_made_meanwhile,
    a_change_made_through_another_handle_is_taken_over_by_the_next_refresh,
    two_handles_that_write_at_once_lose_no_revision,
    changes_of_one_key_made_at_once_all_last,
    whoever_follows_the_revisions_while_others_write_misses_none,
}

async fn every_field_comes_back_as_it_went_in(place: Place) {
    let store = place.open().await;
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
        budget: Some(Budget::new("12.5".parse().unwrap(), Period::Month)),
        markup: Markup::from_basis_points(-250),
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

async fn every_change_leaves_one_audit_row_without_digest(place: Place) {
    let store = place.open().await;
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

async fn a_revoked_key_cannot_be_changed_and_an_unknown_one_not_found(place: Place) {
    let store = place.open().await;
    let (record, _) = store.create_key(named("a"), by(1)).await.unwrap();
    store.revoke_key(&record.id, by(2)).await.unwrap();
    let patch = KeyPatch::default;
    assert_eq!(status(store.update_key(&record.id, patch(), by(3)).await.unwrap_err()), 409);
    assert_eq!(status(store.rotate_key(&record.id, by(3)).await.unwrap_err()), 409);
    for id in ["", "key_0", "' OR 1=1 --"] {
        assert_eq!(status(store.key(id).await.unwrap_err()), 404);
        assert_eq!(status(store.update_key(id, patch(), by(3)).await.unwrap_err()), 404);
        assert_eq!(status(store.revoke_key(id, by(3)).await.unwrap_err()), 404);
    }
    assert_eq!(status(store.create_key(named(""), by(3)).await.unwrap_err()), 400);
}

async fn pages_of_keys_hold_each_key_once_whatever_is_made_meanwhile(place: Place) {
    let store = place.open().await;
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
        assert_eq!(status(store.keys(Some(bad), 3).await.unwrap_err()), 400);
    }
}

async fn a_change_made_through_another_handle_is_taken_over_by_the_next_refresh(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let table = KeyTable::new(std::sync::Arc::default());
    let (record, key) = there.create_key(named("a"), by(1)).await.unwrap();
    assert_eq!(table.authenticate(key.expose(), 2).unwrap_err(), Error::InvalidKey);
    table.refresh(&*here).await.unwrap();
    assert_eq!(&*table.authenticate(key.expose(), 2).unwrap().caller.key_id, record.id);
    there.revoke_key(&record.id, by(3)).await.unwrap();
    table.refresh(&*here).await.unwrap();
    assert_eq!(table.authenticate(key.expose(), 4).unwrap_err(), Error::InvalidKey);
    assert!(table.is_empty());
}

async fn two_handles_that_write_at_once_lose_no_revision(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let many = |store: Arc<dyn Store>| async move {
        for at in 0..20 {
            store.create_key(named("k"), by(at)).await.unwrap();
        }
    };
    futures_util::future::join(many(Arc::clone(&here)), many(there)).await;
    let revisions: Vec<i64> =
        here.keys_changed_since(0, 100).await.unwrap().iter().map(|record| record.revision).collect();
    assert_eq!(revisions, (1..=40).collect::<Vec<_>>());
}

async fn changes_of_one_key_made_at_once_all_last(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let (record, _) = here.create_key(named("k"), by(1)).await.unwrap();
    for round in 1..=20_u32 {
        let name = KeyPatch { name: Some(format!("k{round}")), ..KeyPatch::default() };
        let rpm = KeyPatch { rpm: Some(NonZeroU32::new(round)), ..KeyPatch::default() };
        let (one, two) = futures_util::future::join(
            here.update_key(&record.id, name, by(2)),
            there.update_key(&record.id, rpm, by(3)),
        )
        .await;
        one.unwrap();
        two.unwrap();
        let spec = here.key(&record.id).await.unwrap().spec;
        assert_eq!((spec.name, spec.limits.rpm), (format!("k{round}"), NonZeroU32::new(round)));
    }
}

async fn whoever_follows_the_revisions_while_others_write_misses_none(place: Place) {
    const EACH: i64 = 20;
    let follower = place.open().await;
    let write = async |store: Arc<dyn Store>| {
        for at in 0..EACH {
            store.create_key(named("k"), by(at)).await.unwrap();
        }
    };
    let follow = async {
        let mut seen = Vec::new();
        while seen.len() < 3 * EACH as usize {
            let after = seen.last().copied().unwrap_or_default();
            let changed = follower.keys_changed_since(after, 100).await.unwrap();
            seen.extend(changed.iter().map(|record| record.revision));
        }
        seen
    };
    let (one, two, three) = (place.open().await, place.open().await, place.open().await);
    let writing = futures_util::future::join3(write(one), write(two), write(three));
    let (seen, _) = futures_util::future::join(follow, writing).await;
    assert_eq!(seen, (1..=3 * EACH).collect::<Vec<_>>());
}
