//! Bodies of calls: stored once, found by either id, read with a trace, deleted, removed when old or too much.

use llm_gateway::request_log::Kept;
use llm_gateway::store::{LoggedCall, Store};
use ulid::Ulid;

use super::{Place, by, on_both};

on_both! {
    a_call_is_stored_once_and_given_as_it_was,
    who_reads_bodies_is_in_the_audit_trail,
    what_is_deleted_is_gone_and_nothing_else,
    what_is_old_or_too_much_is_removed_oldest_first,
    replicas_that_remove_and_store_at_once_do_not_fail,
}

fn call(request_id: &str, time_ms: i64) -> LoggedCall {
    let kept = |body: &str| Kept { body: body.to_owned(), truncated: true, redacted: 3 };
    LoggedCall {
        call_id: Ulid::generate(),
        request_id: request_id.to_owned(),
        time_ms,
        key_id: "key_a".to_owned(),
        project: Some("p".to_owned()),
        status: 499,
        outcome: "cancelled".to_owned(),
        error: Some("cancelled".to_owned()),
        stream: true,
        request: Some(kept("0123456789")),
        response: None,
    }
}

async fn a_call_is_stored_once_and_given_as_it_was(place: Place) {
    let store = place.open().await;
    let calls: Vec<LoggedCall> = (0..40).map(|at| call(&format!("req-{at}"), at)).collect();
    store.log_calls(&calls).await.unwrap();
    let again = LoggedCall { request_id: "other".to_owned(), ..calls[0].clone() };
    store.log_calls(&[again]).await.unwrap();
    let odd = LoggedCall {
        response: Some(Kept { body: "\"é\u{1f600}\\\n".to_owned(), ..Kept::default() }),
        ..call("x", 1)
    };
    store.log_calls(std::slice::from_ref(&odd)).await.unwrap();
    store.log_calls(&[]).await.unwrap();
    for given in calls.iter().chain([&odd]) {
        assert_eq!(store.read_logged(given.call_id, by(1)).await.unwrap().as_ref(), Some(given));
        let found = vec![(given.call_id, given.time_ms)];
        for id in [given.request_id.clone(), given.call_id.to_string()] {
            assert_eq!(store.logged_calls(&id, 10).await.unwrap(), found, "{id}");
        }
    }
    assert_eq!(store.logged_calls("other", 10).await.unwrap(), []);
    assert_eq!(store.read_logged(Ulid::generate(), by(1)).await.unwrap(), None);
}

async fn who_reads_bodies_is_in_the_audit_trail(place: Place) {
    let store = place.open().await;
    let given = call("req-1", 5);
    store.log_calls(std::slice::from_ref(&given)).await.unwrap();
    store.logged_calls("req-1", 1).await.unwrap();
    assert_eq!(store.audit(None, 10).await.unwrap().data, [], "looking for it reads nothing");
    store.read_logged(given.call_id, by(7)).await.unwrap();
    let rows = store.audit(None, 10).await.unwrap().data;
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    let object = given.call_id.to_string();
    assert_eq!(
        (row.action.as_str(), row.object.as_str(), row.time_ms),
        ("request_log.read", object.as_str(), 7)
    );
    let after = row.after.as_deref().unwrap();
    assert!(after.contains("req-1") && !after.contains("0123456789"), "{after}");
}

async fn what_is_deleted_is_gone_and_nothing_else(place: Place) {
    let store = place.open().await;
    let calls: Vec<LoggedCall> = (0..5).map(|at| call(if at < 3 { "mine" } else { "other" }, at)).collect();
    store.log_calls(&calls).await.unwrap();
    assert_eq!(store.delete_logged("mine", 2, by(1)).await.unwrap(), 2);
    assert_eq!(store.logged_calls("mine", 9).await.unwrap(), [(calls[2].call_id, 2)]);
    assert_eq!(store.delete_logged(&calls[3].call_id.to_string(), 2, by(1)).await.unwrap(), 1);
    assert_eq!(store.delete_logged("mine", 2, by(1)).await.unwrap(), 1);
    assert_eq!(store.delete_logged("mine", 2, by(1)).await.unwrap(), 0);
    assert_eq!(store.logged_calls("other", 9).await.unwrap(), [(calls[4].call_id, 4)]);
    let rows = store.audit(None, 10).await.unwrap().data;
    assert!(rows.len() == 3 && rows.iter().all(|row| row.action == "request_log.delete"), "{rows:?}");
}

/// When the calls that are left began.
async fn left(store: &dyn Store) -> Vec<i64> {
    store.logged_calls("req", 999).await.unwrap().into_iter().map(|(_, time_ms)| time_ms).rev().collect()
}

async fn what_is_old_or_too_much_is_removed_oldest_first(place: Place) {
    let store = place.open().await;
    let calls: Vec<LoggedCall> = (0..8).map(|at| call("req", at * 10)).collect();
    store.log_calls(&calls).await.unwrap();
    for (before_ms, bytes_max, rows, removed, stays) in [
        (0, 1_000, 9, 0, vec![0, 10, 20, 30, 40, 50, 60, 70]),
        (25, 1_000, 2, 2, vec![20, 30, 40, 50, 60, 70]),
        (25, 1_000, 2, 1, vec![30, 40, 50, 60, 70]),
        (0, 49, 9, 1, vec![40, 50, 60, 70]),
        (45, 20, 1, 1, vec![50, 60, 70]),
        (45, 20, 9, 1, vec![60, 70]),
        (0, 0, 9, 2, vec![]),
        (99, 0, 9, 0, vec![]),
    ] {
        assert_eq!(store.purge_logged(before_ms, bytes_max, rows).await.unwrap(), removed);
        assert_eq!(left(&*store).await, stays);
    }
}

async fn replicas_that_remove_and_store_at_once_do_not_fail(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let calls: Vec<LoggedCall> = (0..300).map(|at| call("req", at)).collect();
    here.log_calls(&calls).await.unwrap();
    let removing = async |store: &dyn Store| {
        let mut removed = 0;
        loop {
            let rows = store.purge_logged(200, 1 << 20, 20).await.unwrap();
            removed += rows;
            if rows < 20 {
                return removed;
            }
        }
    };
    let more: Vec<LoggedCall> = (0..50).map(|at| call("more", 300 + at)).collect();
    let (one, two, stored) = tokio::join!(removing(&*here), removing(&*there), there.log_calls(&more));
    stored.unwrap();
    assert!(one + two <= 200, "{one} {two}");
    while here.purge_logged(200, 1 << 20, 20).await.unwrap() > 0 {}
    for store in [&here, &there] {
        assert_eq!(left(&**store).await.first(), Some(&200));
    }
    assert_eq!(here.logged_calls("more", 99).await.unwrap().len(), 50);
}
