use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::error::Error;
use crate::money::Usd;
use crate::receipt::Settles as _;

const DAY: i64 = 86_400_000;

fn purse(limit: i64, period: Period) -> Arc<Purse> {
    let purse = Purse::new("this key".into(), Arc::default());
    purse.set(Some(Budget::new(Usd::from_units(limit), period)), 0);
    let asked = purse.unseeded().unwrap();
    purse.seed(asked, Usd::ZERO, true);
    purse
}

fn hold(purses: &[&Arc<Purse>], amount: i64, now_ms: i64) -> Result<Hold, Exhausted> {
    let purses: Arc<[Arc<Purse>]> = purses.iter().map(|purse| Arc::clone(purse)).collect();
    Hold::reserve(&purses, Usd::from_units(amount), now_ms)
}

fn left(purse: &Purse, now_ms: i64) -> i64 {
    purse.standing(now_ms).unwrap().left.units()
}

#[test]
fn money_is_reserved_then_settled_and_what_is_dropped_comes_back() {
    let purse = purse(100, Period::Day);
    let first = hold(&[&purse], 60, 10).unwrap();
    assert_eq!(left(&purse, 10), 40);
    let refused = hold(&[&purse], 41, 10).unwrap_err();
    assert_eq!((refused.left.units(), refused.until_ms), (40, Some(DAY)));
    assert_eq!(purse.wanted().units(), 41);
    assert_eq!(purse.wanted().units(), 0);
    first.settle(Usd::from_units(25), 20);
    drop(first);
    assert_eq!(left(&purse, 20), 75);
    drop(hold(&[&purse], 75, 20).unwrap());
    assert_eq!((left(&purse, 20), purse.reserved()), (75, Usd::ZERO));
}

#[test]
fn all_purses_pay_or_none() {
    let (wide, narrow) = (purse(100, Period::Day), purse(10, Period::Total));
    assert_eq!(hold(&[&wide, &narrow], 11, 5).unwrap_err().owner, *narrow.owner());
    assert_eq!((left(&wide, 5), left(&narrow, 5)), (100, 10));
    let held = hold(&[&wide, &narrow], 4, 5).unwrap();
    held.extend(Usd::from_units(6), 5).unwrap();
    held.extend(Usd::from_units(1), 5).unwrap_err();
    assert_eq!((left(&wide, 5), left(&narrow, 5), held.reserved().units()), (90, 0, 10));
    held.settle(Usd::from_units(12), 5);
    assert_eq!((left(&wide, 5), left(&narrow, 5)), (88, -2));
    let error = Error::from(hold(&[&narrow], 0, 5).unwrap_err());
    assert_eq!((error.class().status, error.code()), (402, Some("budget_exceeded")));
}

#[test]
fn a_period_begins_anew_and_what_runs_over_midnight_is_charged_where_it_ends() {
    let purse = purse(100, Period::Day);
    let night = hold(&[&purse], 70, DAY - 5).unwrap();
    assert_eq!(left(&purse, DAY), 30, "what still runs is held in the new period");
    night.settle(Usd::from_units(50), DAY + 1);
    assert_eq!(left(&purse, DAY + 2), 50);
    // A receipt of the day before says nothing of this one.
    let late = hold(&[&purse], 10, DAY + 3).unwrap();
    late.settle(Usd::from_units(10), DAY - 1);
    assert_eq!(left(&purse, DAY + 4), 50);
}

#[test]
fn a_budget_that_comes_later_counts_each_receipt_on_one_side() {
    let purse = Purse::new("this key".into(), Arc::default());
    let before = hold(&[&purse], 0, 10).unwrap();
    let running = hold(&[&purse], 5, 20).unwrap();
    before.settle(Usd::from_units(7), 30);
    purse.set(Some(Budget::new(Usd::from_units(100), Period::Day)), 40);
    running.settle(Usd::from_units(9), 50);
    let asked = purse.unseeded().unwrap();
    assert_eq!((asked.window.start_ms, asked.since_ms), (0, 41));
    // The ledger has what ended before.
    purse.seed(asked, Usd::from_units(7), false);
    assert!(purse.unseeded().is_some());
    purse.seed(asked, Usd::from_units(7), true);
    assert_eq!((left(&purse, 60), purse.unseeded()), (84, None));
    // Another limit of the same period goes on counting.
    purse.set(Some(Budget::new(Usd::from_units(200), Period::Day)), 70);
    assert_eq!(left(&purse, 70), 184);
    purse.set(Some(Budget::new(Usd::from_units(200), Period::Month)), 80);
    assert_ne!(purse.unseeded(), None);
    purse.seed(asked, Usd::from_units(1), true);
    assert_ne!(purse.unseeded(), None, "an answer for another period");
}

#[test]
fn a_soft_budget_refuses_nothing_and_counts_all_the_same() {
    let purse = purse(10, Period::Day);
    purse.set(Some(Budget { soft: true, ..Budget::new(Usd::from_units(10), Period::Day) }), 5);
    hold(&[&purse], 50, 6).unwrap().settle(Usd::from_units(50), 6);
    assert_eq!(left(&purse, 7), -40);
}

#[test]
fn a_grant_of_the_fleet_takes_the_place_of_the_limit() {
    let purse = purse(100, Period::Day);
    let window = purse.standing(1).unwrap().window;
    purse.grant(window, Some(Usd::from_units(30)));
    hold(&[&purse], 20, 1).unwrap().settle(Usd::from_units(20), 2);
    hold(&[&purse], 11, 3).unwrap_err();
    purse.grant(window, Some(Usd::from_units(40)));
    assert_eq!(left(&purse, 3), 20);
    assert_eq!(left(&purse, DAY), 0, "nothing is granted of the next period yet");
    purse.grant(window, Some(Usd::from_units(99)));
    assert_eq!(left(&purse, DAY), 0, "a word on another period");
}

#[test]
fn two_hundred_at_once_on_the_last_dollar_never_reserve_more() {
    let purse = purse(1_000, Period::Total);
    let admitted = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    if let Ok(held) = hold(&[&purse], 30, 1) {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        held.settle(Usd::from_units(30), 2);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 33);
    assert_eq!((left(&purse, 3), purse.reserved()), (10, Usd::ZERO));
}
