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
    let table = KeyTable::new(Arc::default());
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
        assert!(allowed.iter().all(|model| entry.models.permit(model, "openai")), "{rules:?}");
        assert!(!refused.iter().any(|model| entry.models.permit(model, "openai")), "{rules:?}");
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
        () = table.poll(&store, Duration::from_millis(1), heard, || 0) => unreachable!("polling never ends"),
        () = revoked => {}
    }
    store.close().await;
    table.refresh(&store).await.unwrap_err();
}

fn tag(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn day_budget(limit: &str) -> Option<Budget> {
    Some(Budget::new(limit.parse().unwrap(), crate::policy::budget::Period::Day))
}

#[tokio::test]
async fn a_call_belongs_to_its_project_and_to_every_set_whose_tags_it_or_its_key_has() {
    let (_folder, store, table, id, key) = table_with(ModelRules::default()).await;
    let patch = KeyPatch { tags: Some(vec![tag("team", "search")]), ..KeyPatch::default() };
    store.update_key(&id, patch, by(2)).await.unwrap();
    for set in ["team=search", "team=other", "feature=x,team=search", "env=prod", "a=1,b=2"] {
        store.create_group(GroupKind::Tags, set.to_owned(), Default::default(), by(3)).await.unwrap();
    }
    table.refresh(&store).await.unwrap();
    let entry = table.authenticate(key.expose(), 5).unwrap();
    let names = |tags: &[(String, String)]| {
        let groups = table.belongs(&entry, tags);
        assert_eq!(groups.project.as_ref().map(|project| &*project.name), Some("p"));
        groups.tag_sets.iter().map(|set| set.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["team=search"]);
    assert_eq!(names(&[tag("team", "search"), tag("team", "search")]), ["team=search"]);
    assert_eq!(
        names(&[tag("team", "other"), tag("feature", "x")]),
        ["feature=x,team=search", "team=other", "team=search"],
        "overriding a tag of the key does not lead out of its sets"
    );
    assert_eq!(names(&[tag("b", "2"), tag("env", "prod")]), ["env=prod", "team=search"]);
    store.delete_group(GroupKind::Tags, "team=search", by(6)).await.unwrap();
    table.refresh(&store).await.unwrap();
    assert_eq!(table.belongs(&entry, &[]).tag_sets.len(), 0);
}

#[test]
fn ten_thousand_sets_that_share_a_tag_are_not_looked_at_one_by_one() {
    let purse = Purse::new("x".into(), Arc::default());
    let quota = Arc::new(KeyQuota::new(Limits::default(), Instant::now()));
    let set = |tags: Vec<(String, String)>| {
        Arc::new(GroupEntry {
            kind: GroupKind::Tags,
            name: super::super::tags_name(&tags).into(),
            tags: tags.into(),
            models: ModelRules::default(),
            expires_ms: None,
            markup: None,
            request_log: Default::default(),
            quota: Arc::clone(&quota),
            purse: Arc::clone(&purse),
        })
    };
    let sets: Vec<_> =
        (0..10_000).map(|at| set(vec![tag("env", "prod"), tag("user", &at.to_string())])).collect();
    let index = TagIndex::of(&sets);
    assert_eq!(index.looked_at("env", "prod"), 0);
    assert_eq!(index.looked_at("user", "77"), 1);
    let found = index.matching(&[tag("env", "prod"), tag("user", "77")], &[]);
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_purse_is_one_while_its_owner_lives_and_while_calls_hold_it() {
    let (_folder, store, table, id, key) = table_with(ModelRules::default()).await;
    let entry = table.authenticate(key.expose(), 5).unwrap();
    let project = table.group(GroupKind::Project, "p").unwrap();
    assert!(!entry.purse.has_budget() && !project.purse.has_budget());
    let patch = KeyPatch { budget: Some(day_budget("5")), ..KeyPatch::default() };
    store.update_key(&id, patch, by(6)).await.unwrap();
    let patch = crate::store::GroupPatch { budget: Some(day_budget("7")), ..Default::default() };
    store.update_group(GroupKind::Project, "p", patch, by(6)).await.unwrap();
    table.refresh(&store).await.unwrap();
    // Those who held them before see the budget, too.
    assert!(entry.purse.has_budget() && project.purse.has_budget());
    let purses = table.purses();
    assert_eq!(purses.len(), 2);
    store.revoke_key(&id, by(7)).await.unwrap();
    store.delete_group(GroupKind::Project, "p", by(8)).await.unwrap();
    table.refresh(&store).await.unwrap();
    assert!(!project.purse.has_budget() && table.purses().is_empty());
    let spec = crate::store::GroupSpec { budget: day_budget("1"), ..Default::default() };
    store.create_group(GroupKind::Project, "p".into(), spec, by(9)).await.unwrap();
    table.refresh(&store).await.unwrap();
    let back = table.group(GroupKind::Project, "p").unwrap();
    assert!(Arc::ptr_eq(&back.purse, &project.purse));
}

#[tokio::test]
async fn a_new_budget_begins_with_what_the_ledger_says() {
    let (_folder, store, table, id, key) = table_with(ModelRules::default()).await;
    let now = now_ms();
    let mut receipt = crate::store::testing::receipt(now - 1);
    receipt.caller = crate::receipt::Caller { key_id: id.as_str().into(), project: Some("p".into()) };
    receipt.charged = Some("1.5".parse().unwrap());
    store.settle(&[receipt]).await.unwrap();
    let budget = Budget { period: crate::policy::budget::Period::Total, ..day_budget("5").unwrap() };
    let patch = KeyPatch { budget: Some(Some(budget)), ..KeyPatch::default() };
    store.update_key(&id, patch, by(6)).await.unwrap();
    table.refresh_and_seed(&store, 0).await.unwrap();
    let purse = Arc::clone(&table.authenticate(key.expose(), 5).unwrap().purse);
    assert_eq!(purse.standing(now).unwrap().spent.to_string(), "1.5");
    assert!(purse.unseeded().is_some(), "a call may not have settled yet");
    table.seed(&store, i64::MAX).await.unwrap();
    assert_eq!(purse.unseeded(), None);
    assert_eq!(purse.standing(now).unwrap().left.to_string(), "3.5");
}

#[tokio::test]
async fn a_text_that_goes_over_to_another_key_lets_that_one_in() {
    let (_folder, store, table, _, _) = table_with(ModelRules::default()).await;
    let text = key::FreshKey::generate().unwrap();
    let declared = |name: &str| crate::store::Declared {
        keys: vec![crate::store::DeclaredKey {
            id: name.to_owned(),
            digest: text.digest(),
            prefix: text.prefix().to_owned(),
            spec: named(name),
        }],
        groups: Vec::new(),
    };
    for name in ["zebra", "ant", "zebra"] {
        store.declare(declared(name), by(2)).await.unwrap();
        table.refresh(&store).await.unwrap();
        assert_eq!(table.authenticate(text.expose(), 3).unwrap().name, name);
        assert_eq!(table.len(), 2);
    }
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
        () = table.poll(&store, Duration::from_secs(3_600), heard, || 0) => unreachable!("polling never ends"),
        () = revoked => {}
    }
}
