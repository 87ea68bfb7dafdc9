//! Idempotency keys: claims of two owners, leases, answers, purges.

use std::sync::Arc;

use ulid::Ulid;

use llm_gateway::policy::idempotency::{Answer, Head};
use llm_gateway::store::{Claim, Held, Store, Stored};

use super::{Place, on_both};

on_both! {
    of_two_owners_one_runs_and_the_other_gets_its_answer,
    a_claim_ends_with_its_lease_its_deadline_or_when_it_is_let_go,
    many_owners_that_claim_at_once_get_one_claim,
    what_is_old_is_removed_then_what_is_too_much_oldest_first_and_nothing_that_runs,
}

const ASKED: [u8; 32] = [7; 32];

fn claim(key: u8, owner: &str, now_ms: i64) -> Claim {
    Claim {
        name: [key; 32],
        fingerprint: ASKED,
        key_id: "key_a".into(),
        owner: owner.into(),
        token: Ulid::generate(),
        now_ms,
        lease_ms: now_ms + 15,
        deadline_ms: now_ms + 100,
    }
}

fn answer(text: &str) -> Stored {
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    let head = Head { status: 200, headers, length: None, request_id: "req-1".into() };
    Arc::new(Answer { head: Arc::new(head), body: text.to_owned().into() })
}

/// Claims and finishes a key.
async fn answered(store: &dyn Store, key: u8, text: &str, expires_ms: i64) {
    let mine = claim(key, "a", 0);
    assert_eq!(store.claim_answer(&mine).await.unwrap(), Held::Mine);
    assert!(store.finish_answer(mine.name, mine.token, Some(answer(text)), expires_ms).await.unwrap());
}

async fn of_two_owners_one_runs_and_the_other_gets_its_answer(place: Place) {
    let store = place.open().await;
    let (mine, theirs) = (claim(1, "a", 0), claim(1, "b", 1));
    let fetch = async |now_ms| store.fetch_answer(mine.name, ASKED, now_ms).await.unwrap();
    assert_eq!(fetch(0).await, None);
    assert_eq!(store.claim_answer(&mine).await.unwrap(), Held::Mine);
    assert_eq!(store.claim_answer(&theirs).await.unwrap(), Held::Running);
    assert_eq!(fetch(14).await, Some(Held::Running));
    let other = Claim { fingerprint: [8; 32], ..theirs.clone() };
    assert_eq!(store.claim_answer(&other).await.unwrap(), Held::Other);
    assert!(!store.finish_answer(mine.name, theirs.token, Some(answer("no")), 60).await.unwrap());
    assert!(store.finish_answer(mine.name, mine.token, Some(answer("yes")), 60).await.unwrap());
    let done = Held::Done(answer("yes"), 60);
    assert_eq!(store.claim_answer(&theirs).await.unwrap(), done);
    assert_eq!(store.claim_answer(&mine).await.unwrap(), done, "the one who ran it, after a restart");
    assert_eq!(fetch(59).await, Some(done));
    assert_eq!(store.fetch_answer(mine.name, [8; 32], 59).await.unwrap(), Some(Held::Other));
    assert_eq!(fetch(60).await, None);
    let late = Claim { now_ms: 60, ..other };
    assert_eq!(store.claim_answer(&late).await.unwrap(), Held::Mine, "expired");
}

async fn a_claim_ends_with_its_lease_its_deadline_or_when_it_is_let_go(place: Place) {
    let store = place.open().await;
    let mine = claim(1, "a", 0);
    store.claim_answer(&mine).await.unwrap();
    let fetch = async |now_ms| store.fetch_answer(mine.name, ASKED, now_ms).await.unwrap();
    store.extend_answers("b", 1_000).await.unwrap();
    assert_eq!(fetch(15).await, None, "another owner's life is none of its");
    store.extend_answers("a", 90).await.unwrap();
    assert_eq!(fetch(89).await, Some(Held::Running));
    store.extend_answers("a", 1_000).await.unwrap();
    assert_eq!((fetch(99).await, fetch(100).await), (Some(Held::Running), None));
    // The same process has given its first claim up; letting that one go does not touch the second.
    let again = claim(1, "a", 5);
    assert_eq!(store.claim_answer(&again).await.unwrap(), Held::Mine);
    store.release_answer(mine.name, mine.token).await.unwrap();
    assert_eq!(fetch(6).await, Some(Held::Running));
    store.release_answer(mine.name, again.token).await.unwrap();
    assert_eq!(fetch(6).await, None);
    // One that was too large.
    let large = claim(2, "a", 0);
    store.claim_answer(&large).await.unwrap();
    assert!(store.finish_answer(large.name, large.token, None, 60).await.unwrap());
    store.release_answer(large.name, large.token).await.unwrap();
    assert_eq!(store.claim_answer(&claim(2, "b", 1)).await.unwrap(), Held::NotKept);
}

async fn many_owners_that_claim_at_once_get_one_claim(place: Place) {
    let store = place.open().await;
    let claims: Vec<Claim> = (0..20).map(|owner| claim(1, &owner.to_string(), 0)).collect();
    let held = futures_util::future::join_all(claims.iter().map(|claim| store.claim_answer(claim))).await;
    let mine = held.iter().filter(|held| *held.as_ref().unwrap() == Held::Mine).count();
    assert_eq!(mine, 1, "{held:?}");
}

async fn what_is_old_is_removed_then_what_is_too_much_oldest_first_and_nothing_that_runs(place: Place) {
    let store = place.open().await;
    for key in 1..=6 {
        answered(&*store, key, "0123456789", 100 * i64::from(key)).await;
    }
    let running = claim(9, "a", 0);
    store.claim_answer(&Claim { deadline_ms: 5_000, ..running.clone() }).await.unwrap();
    let there = async || {
        let mut keys = Vec::new();
        for key in 1..=9 {
            if store.fetch_answer([key; 32], ASKED, 1).await.unwrap().is_some() {
                keys.push(key);
            }
        }
        keys
    };
    assert_eq!(store.purge_answers(200, 1_000, 1).await.unwrap(), 1);
    assert_eq!(store.purge_answers(200, 1_000, 10).await.unwrap(), 1);
    assert_eq!(there().await, [3, 4, 5, 6, 9]);
    assert_eq!(store.purge_answers(200, 25, 1).await.unwrap(), 1);
    assert_eq!(there().await, [4, 5, 6, 9]);
    assert_eq!(store.purge_answers(200, 25, 10).await.unwrap(), 1);
    assert_eq!(there().await, [5, 6, 9]);
    assert_eq!(store.purge_answers(200, 0, 10).await.unwrap(), 2);
    assert_eq!(there().await, [9]);
}
