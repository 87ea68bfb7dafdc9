//! Projects, sets of tags, what the configuration declares, and what was charged to whom.

use std::num::NonZeroU32;
use std::sync::Arc;

use llm_gateway::error::Error;
use llm_gateway::money::{Markup, Usd};
use llm_gateway::policy::budget::{Budget, Period};
use llm_gateway::policy::quota::Limits;
use llm_gateway::receipt::{Caller, Receipt};
use llm_gateway::rfc3339::{HOUR_MS, QUARTER_MS};
use llm_gateway::store::key::FreshKey;
use llm_gateway::store::{
    Alert, Declared, DeclaredKey, GroupKind, GroupPatch, GroupSpec, KeyPatch, KeySpec, Managed, ModelRules,
    Payer, Store, StoreError,
};

use super::{Place, by, named, on_both};
use crate::support::receipts::receipt;

on_both! {
    a_group_comes_back_as_it_went_in_and_its_name_can_be_taken_again,
    a_patch_changes_what_it_names_and_what_is_out_of_bounds_changes_nothing,
    a_key_makes_its_project_and_keeps_it_from_being_deleted,
    pages_of_groups_follow_by_name_and_changes_by_revision,
    what_is_declared_comes_goes_and_comes_back_and_nobody_else_changes_it,
    a_declaration_that_cannot_be_leaves_everything_as_it_was,
    what_was_charged_is_exact_to_the_millisecond_at_both_ends,
    a_call_counts_for_the_tags_of_its_key_too,
    a_threshold_is_noted_once_in_each_period,
}

const PROJECT: GroupKind = GroupKind::Project;

fn status(error: &StoreError) -> u16 {
    Error::from(error.clone()).class().status
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn budgeted(limit: &str) -> GroupSpec {
    GroupSpec { budget: Some(Budget::new(usd(limit), Period::Day)), ..GroupSpec::default() }
}

/// The newest actions of the audit trail, oldest first.
async fn trail(store: &dyn Store) -> Vec<(String, String)> {
    let rows = store.audit(None, 100).await.unwrap().data;
    rows.into_iter().rev().map(|row| (row.action, row.object)).collect()
}

async fn a_group_comes_back_as_it_went_in_and_its_name_can_be_taken_again(place: Place) {
    let store = place.open().await;
    let spec = GroupSpec {
        expires_ms: Some(77),
        models: ModelRules { allow: vec!["gpt-*".into()], deny: vec!["o1".into()] },
        limits: Limits { rpm: NonZeroU32::new(1), tpm: NonZeroU32::new(2), concurrency: NonZeroU32::new(3) },
        markup: Markup::from_basis_points(-250),
        ..budgeted("12.5")
    };
    let made = store.create_group(PROJECT, "p".into(), spec.clone(), by(5)).await.unwrap();
    assert_eq!((&made.spec, made.created_ms, made.managed), (&spec, 5, Managed::Api));
    assert_eq!(store.group(PROJECT, "p").await.unwrap(), made);
    let twice = store.create_group(PROJECT, "p".into(), GroupSpec::default(), by(6)).await;
    assert_eq!(status(&twice.unwrap_err()), 409);
    // A set of tags of the same name is another group.
    assert_eq!(status(&store.group(GroupKind::Tags, "p").await.unwrap_err()), 404);
    store.delete_group(PROJECT, "p", by(7)).await.unwrap();
    assert_eq!(status(&store.group(PROJECT, "p").await.unwrap_err()), 404);
    assert_eq!(status(&store.delete_group(PROJECT, "p", by(8)).await.unwrap_err()), 404);
    let again = store.create_group(PROJECT, "p".into(), GroupSpec::default(), by(9)).await.unwrap();
    assert_eq!((again.spec, again.created_ms, again.deleted_ms), (GroupSpec::default(), 9, None));
    let expected = ["create", "delete", "create"].map(|verb| (format!("project.{verb}"), "p".to_owned()));
    assert_eq!(trail(&*store).await, expected);
}

async fn a_patch_changes_what_it_names_and_what_is_out_of_bounds_changes_nothing(place: Place) {
    let store = place.open().await;
    store.create_group(GroupKind::Tags, "a=1,b=2".into(), budgeted("1"), by(1)).await.unwrap();
    let patch = GroupPatch { budget: Some(None), rpm: Some(NonZeroU32::new(9)), ..GroupPatch::default() };
    let after = store.update_group(GroupKind::Tags, "a=1,b=2", patch.clone(), by(2)).await.unwrap();
    assert_eq!((after.spec.budget, after.spec.limits.rpm), (None, NonZeroU32::new(9)));
    let same = store.update_group(GroupKind::Tags, "a=1,b=2", patch, by(3)).await.unwrap();
    assert_eq!(same.revision, after.revision);
    let bad = GroupPatch { budget: Some(Some(Budget::new(Usd::ZERO, Period::Day))), ..GroupPatch::default() };
    let refused = store.update_group(GroupKind::Tags, "a=1,b=2", bad, by(4)).await.unwrap_err();
    assert_eq!(status(&refused), 400);
    assert_eq!(trail(&*store).await.len(), 2);
    let missing = store.update_group(GroupKind::Tags, "a=1", GroupPatch::default(), by(5)).await;
    assert_eq!(status(&missing.unwrap_err()), 404);
}

async fn a_key_makes_its_project_and_keeps_it_from_being_deleted(place: Place) {
    let store = place.open().await;
    let mut spec = named("a");
    spec.project = Some("new".into());
    let (key, _) = store.create_key(spec, by(1)).await.unwrap();
    assert_eq!(store.group(PROJECT, "new").await.unwrap().spec, GroupSpec::default());
    assert_eq!(trail(&*store).await[0], ("project.create".to_owned(), "new".to_owned()));
    assert_eq!(status(&store.delete_group(PROJECT, "new", by(2)).await.unwrap_err()), 409);
    let moved = KeyPatch { project: Some(Some("other".into())), ..KeyPatch::default() };
    store.update_key(&key.id, moved, by(3)).await.unwrap();
    store.delete_group(PROJECT, "new", by(4)).await.unwrap();
    store.revoke_key(&key.id, by(5)).await.unwrap();
    store.delete_group(PROJECT, "other", by(6)).await.unwrap();
}

async fn pages_of_groups_follow_by_name_and_changes_by_revision(place: Place) {
    let store = place.open().await;
    for name in ["c", "a", "b"] {
        store.create_group(PROJECT, name.into(), GroupSpec::default(), by(1)).await.unwrap();
    }
    let first = store.groups(PROJECT, None, 2).await.unwrap();
    let names: Vec<_> = first.data.iter().map(|group| group.name.as_str()).collect();
    assert_eq!((names, first.next_cursor.as_deref()), (vec!["a", "b"], Some("b")));
    assert_eq!(store.groups(PROJECT, Some("b"), 2).await.unwrap().data[0].name, "c");
    assert_eq!(status(&store.groups(PROJECT, Some(""), 2).await.unwrap_err()), 400);
    store.delete_group(PROJECT, "c", by(2)).await.unwrap();
    let changed = store.groups_changed_since(1, 10).await.unwrap();
    let changed: Vec<_> =
        changed.iter().map(|group| (group.name.as_str(), group.revision, group.deleted_ms)).collect();
    assert_eq!(changed, [("a", 2, None), ("b", 3, None), ("c", 4, Some(2))]);
}

fn declared_key(name: &str, key: &FreshKey) -> DeclaredKey {
    DeclaredKey {
        id: name.to_owned(),
        digest: key.digest(),
        prefix: key.prefix().to_owned(),
        spec: KeySpec { project: Some("p".to_owned()), ..named(name) },
    }
}

async fn what_is_declared_comes_goes_and_comes_back_and_nobody_else_changes_it(place: Place) {
    let store = place.open().await;
    let (one, two) = (FreshKey::generate().unwrap(), FreshKey::generate().unwrap());
    let both = Declared {
        keys: vec![declared_key("one", &one), declared_key("two", &two)],
        groups: vec![(PROJECT, "p".into(), budgeted("5")), (GroupKind::Tags, "a=1".into(), budgeted("1"))],
    };
    store.declare(both.clone(), by(1)).await.unwrap();
    let steps = trail(&*store).await.len();
    store.declare(both.clone(), by(2)).await.unwrap();
    assert_eq!(trail(&*store).await.len(), steps, "the same again changes nothing");
    for refused in [
        store
            .update_key("key_one", KeyPatch { tags: Some(Vec::new()), ..KeyPatch::default() }, by(3))
            .await
            .err(),
        store.revoke_key("key_one", by(3)).await.err(),
        store.rotate_key("key_one", by(3)).await.err(),
        store.update_group(PROJECT, "p", GroupPatch::default(), by(3)).await.err(),
        store.delete_group(GroupKind::Tags, "a=1", by(3)).await.err(),
    ] {
        let refused = refused.unwrap();
        assert_eq!(status(&refused), 409);
        assert!(refused.to_string().contains("configuration"), "{refused}");
    }
    // The texts change places, which no two keys may do one after the other.
    let swapped = vec![declared_key("one", &two), declared_key("two", &one)];
    store.declare(Declared { keys: swapped, ..both.clone() }, by(4)).await.unwrap();
    assert_eq!(store.key("key_one").await.unwrap().digest, two.digest());
    // One is renamed: another key has its text from now on.
    let renamed = vec![declared_key("three", &two)];
    store.declare(Declared { keys: renamed, groups: Vec::new() }, by(5)).await.unwrap();
    assert_eq!(store.key("key_one").await.unwrap().revoked_ms, Some(5));
    assert_eq!(store.key("key_three").await.unwrap().digest, two.digest());
    let project = store.group(PROJECT, "p").await.unwrap();
    assert_eq!((project.spec, project.managed), (GroupSpec::default(), Managed::Api), "a key is in it");
    assert_eq!(status(&store.group(GroupKind::Tags, "a=1").await.unwrap_err()), 404);
    store.declare(both, by(6)).await.unwrap();
    let back = store.key("key_one").await.unwrap();
    assert_eq!((back.revoked_ms, back.digest, back.created_ms), (None, one.digest(), 1));
    assert!(trail(&*store).await.contains(&("key.restore".to_owned(), "key_one".to_owned())));
    assert_eq!(
        store.keys(Some("key_two"), 5).await.unwrap().data.len(),
        2,
        "ids of the configuration are cursors"
    );
}

async fn a_declaration_that_cannot_be_leaves_everything_as_it_was(place: Place) {
    let store = place.open().await;
    let (_, taken) = store.create_key(named("mine"), by(1)).await.unwrap();
    store.create_group(PROJECT, "theirs".into(), budgeted("1"), by(1)).await.unwrap();
    let fresh = FreshKey::generate().unwrap();
    let keys = vec![declared_key("ok", &fresh), declared_key("copy", &taken)];
    let copied = store.declare(Declared { keys, groups: Vec::new() }, by(2)).await.unwrap_err();
    assert!(copied.to_string().contains("keys.copy"), "{copied}");
    let groups = vec![(PROJECT, "theirs".to_owned(), GroupSpec::default())];
    let named = store.declare(Declared { keys: Vec::new(), groups }, by(2)).await.unwrap_err();
    assert_eq!((status(&copied), status(&named)), (409, 409));
    assert_eq!(status(&store.key("key_ok").await.unwrap_err()), 404);
    assert_eq!(trail(&*store).await.len(), 2);
}

fn charged(time_ms: i64, units: i64, project: Option<&str>, tags: &[(&str, &str)], sets: &[&str]) -> Receipt {
    Receipt {
        charged: Some(Usd::from_units(units)),
        caller: Caller { key_id: "key_a".into(), project: project.map(Into::into) },
        tags: tags.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        tag_sets: sets.iter().map(|&set| Arc::from(set)).collect(),
        ..receipt(time_ms)
    }
}

async fn what_was_charged_is_exact_to_the_millisecond_at_both_ends(place: Place) {
    let store = place.open().await;
    let tags = [("a", "1"), ("b", "2")];
    let times = [
        0,
        1,
        QUARTER_MS - 1,
        QUARTER_MS,
        HOUR_MS - 1,
        HOUR_MS,
        HOUR_MS + QUARTER_MS + 7,
        2 * HOUR_MS,
        3 * HOUR_MS - 1,
        3 * HOUR_MS + 1,
    ];
    let mut receipts = Vec::new();
    for (at, time) in times.into_iter().enumerate() {
        receipts.push(charged(time, 1 << at, Some("p"), &tags, &["a=1"]));
        receipts.push(charged(time, 1 << 20, None, &[("a", "2")], &[]));
    }
    // A sum that leaves 64 bits.
    receipts.push(charged(9 * HOUR_MS, i64::MAX, Some("p"), &tags, &["a=1"]));
    receipts.push(charged(9 * HOUR_MS, i64::MAX, Some("p"), &tags, &["a=1"]));
    receipts.push(Receipt { charged: None, ..charged(HOUR_MS, 1, Some("p"), &tags, &["a=1"]) });
    store.settle(&receipts).await.unwrap();
    let mut edges: Vec<i64> = times.iter().flat_map(|time| [*time, time + 1]).collect();
    edges.dedup();
    for from in &edges {
        for to in &edges {
            let within = |time: &i64| (from..to).contains(&time);
            let expected: i128 =
                times.iter().enumerate().filter(|(_, time)| within(time)).map(|(at, _)| 1_i128 << at).sum();
            for payer in [Payer::Group(PROJECT, "p".into()), Payer::Group(GroupKind::Tags, "a=1".into())] {
                let found = store.charged(&payer, *from, *to).await.unwrap();
                assert_eq!(found, expected, "{payer} {from} {to}");
            }
        }
    }
    let all = store.charged(&Payer::Key("key_a".into()), 0, i64::MAX).await.unwrap();
    assert_eq!(all, 2 * i128::from(i64::MAX) + 1023 + 10 * (1 << 20));
    assert_eq!(store.charged(&Payer::Key("key_b".into()), 0, i64::MAX).await.unwrap(), 0);
}

async fn a_call_counts_for_the_tags_of_its_key_too(place: Place) {
    let store = place.open().await;
    let mut spec = named("a");
    spec.tags = vec![("team".into(), "search".into())];
    let (key, _) = store.create_key(spec, by(1)).await.unwrap();
    let mut receipt = charged(5, 7, None, &[("team", "other"), ("feature", "x")], &["feature=x,team=search"]);
    receipt.caller.key_id = key.id.into();
    store.settle(&[receipt]).await.unwrap();
    let payer = Payer::Group(GroupKind::Tags, "feature=x,team=search".into());
    assert_eq!(store.charged(&payer, 0, 6).await.unwrap(), 7);
    assert_eq!(store.charged(&payer, 0, 5).await.unwrap(), 0);
}

async fn a_threshold_is_noted_once_in_each_period(place: Place) {
    let store = place.open().await;
    let alert =
        |window_start_ms, percent| Alert { payer: Payer::Key("key_a".into()), window_start_ms, percent };
    let day = 24 * HOUR_MS;
    assert!(store.note_alert(alert(0, 80), 1).await.unwrap());
    assert!(!store.note_alert(alert(0, 80), 2).await.unwrap());
    assert!(store.note_alert(alert(0, 100), 3).await.unwrap());
    assert!(store.note_alert(alert(day, 80), day).await.unwrap());
    assert!(store.note_alert(alert(500 * day, 80), 500 * day).await.unwrap());
    assert!(
        !store.note_alert(alert(0, 80), 500 * day).await.unwrap(),
        "a budget without a period tells once"
    );
}
