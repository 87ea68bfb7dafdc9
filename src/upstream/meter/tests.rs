//! What a meter books when nobody ends its attempt in order.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::*;
use crate::policy::quota::{KeyQuota, Limits};
use crate::receipt::Caller;
use crate::upstream::CallFacts;

/// A meter, the receipts it will have booked, and the quota its call holds.
fn metered() -> (Meter, Rc<RefCell<Vec<Receipt>>>, KeyQuota) {
    let quota = KeyQuota::new(Limits::default(), Instant::now());
    let facts = CallFacts {
        request_id: Arc::from("req-1"),
        caller: Caller { key_id: Arc::from("key_1"), project: None },
        tags: Arc::from([]),
        requested_model: Arc::from("up/m"),
        stream: false,
        include_usage: false,
        n: 1,
        paying: super::super::call::Paying::default(),
        vault: Arc::new(crate::policy::vault::Vault::new(0, std::time::Duration::ZERO)),
        traced: None,
    };
    let call = Call::new(facts, vec![quota.admit(10, Instant::now()).unwrap()]);
    let name: Arc<str> = Arc::from("m");
    let target = Target {
        provider: Arc::from("up"),
        model: Arc::clone(&name),
        upstream: name,
        offer: None,
        health: Arc::default(),
        ignore_soft: false,
    };
    let receipts = Rc::new(RefCell::new(Vec::new()));
    let booked = Rc::clone(&receipts);
    let sinks = Sinks {
        receipt: Rc::new(move |receipt| booked.borrow_mut().push(receipt)),
        finished: Rc::new(|_| {}),
        now_ms: || 7,
    };
    (Meter::start(call, target, 1, &Bytes::from_static(b"{}"), None, sinks), receipts, quota)
}

#[test]
fn a_panic_books_one_failed_receipt_and_frees_the_call() {
    let (mut meter, receipts, quota) = metered();
    assert_eq!(quota.in_flight(), 1);
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        meter.head(200);
        panic!("a defect in the middle of an exchange");
    }));
    assert!(panicked.is_err());
    let booked = receipts.borrow();
    let facts: Vec<_> =
        booked.iter().map(|receipt| (receipt.outcome, receipt.error, receipt.status)).collect();
    assert_eq!(facts, [(Outcome::Failed, Some("internal"), 200)]);
    assert_eq!(quota.in_flight(), 0);
}

#[test]
fn an_attempt_has_reached_nobody_until_there_is_a_connection() {
    for connected in [false, true] {
        let (meter, receipts, _quota) = metered();
        meter.reached().set(connected);
        drop(meter);
        assert_eq!(receipts.borrow().iter().map(|receipt| receipt.reached).collect::<Vec<_>>(), [connected]);
    }
    let (meter, receipts, _quota) = metered();
    drop(meter);
    assert!(receipts.borrow().iter().all(|receipt| !receipt.reached));
}

#[test]
fn a_meter_that_is_let_go_books_one_cancelled_receipt() {
    let (meter, receipts, quota) = metered();
    drop(meter);
    let booked = receipts.borrow();
    assert_eq!(booked.iter().map(|receipt| receipt.outcome).collect::<Vec<_>>(), [Outcome::Cancelled]);
    assert_eq!(quota.in_flight(), 0);
}

#[test]
fn what_was_booked_before_its_end_is_booked_once_and_stays_as_it_was() {
    let (mut meter, receipts, quota) = metered();
    meter.completed();
    meter.book();
    assert_eq!(receipts.borrow().len(), 1, "before it drops");
    meter.failed(&Error::Internal, true);
    meter.book();
    drop(meter);
    let booked = receipts.borrow();
    assert_eq!(booked.iter().map(|receipt| receipt.outcome).collect::<Vec<_>>(), [Outcome::Completed]);
    assert_eq!(quota.in_flight(), 0);
}
