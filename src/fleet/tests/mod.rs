//! The lease arithmetic, and a simulated fleet that everything happens to.

mod simulation;

use super::lease::{Answer, Lease, Use, from_nanos, nanos_down, nanos_up};
use crate::money::Usd;

fn open(have: i64, left: i64, live: i64) -> Answer {
    Answer { generation: 7, have, left, live, scarce: false, open: true }
}

fn used(spent: i64, reserved: i64, wanted: i64) -> Use {
    Use { spent, reserved, wanted }
}

#[test]
fn amounts_are_rounded_to_the_safe_side() {
    for (units, up, down) in
        [(0, 0, 0), (1, 1, 0), (1_000, 1, 1), (1_001, 2, 1), (-1, 0, -1), (-1_000, -1, -1)]
    {
        let amount = Usd::from_units(units);
        assert_eq!((nanos_up(amount), nanos_down(amount)), (up, down), "{units}");
    }
    assert_eq!(from_nanos(3), Usd::from_units(3_000));
    assert_eq!(nanos_up(Usd::from_units(i64::MAX)), 9_000_000_000_000_000);
}

#[test]
fn a_refused_call_asks_for_what_it_lacks() {
    let mut lease = Lease::default();
    lease.observe(used(0, 0, 500), 0, 1_000);
    assert!(lease.is_due(used(0, 0, 500), 1_000));
    let report = lease.report(used(0, 0, 500), 1_000);
    assert_eq!((report.seq, report.need, report.want), (1, 500, 0), "nothing is known of what is left");
    assert_eq!(lease.answered(&report, open(500, 10_000, 1), 1_010), 500);
    // What is free already is not asked for again.
    lease.observe(used(0, 100, 600), 0, 1_100);
    assert_eq!(lease.report(used(0, 100, 600), 1_100).need, 200);
}

#[test]
fn a_busy_lease_holds_about_two_seconds_and_an_idle_one_gives_back() {
    let mut lease = Lease::default();
    let mut now = 0;
    let mut spent = 0;
    for _ in 0..40 {
        now += 250;
        spent += 100;
        lease.observe(used(spent, 0, 0), now, now);
        if lease.is_due(used(spent, 0, 0), now) {
            let report = lease.report(used(spent, 0, 0), now);
            let have = report.have + report.want;
            lease.answered(&report, open(have, 1_000_000, 2), now);
        }
    }
    let ahead = lease.have() - spent;
    assert!((400..=1_600).contains(&ahead), "400 are spent in a second, {ahead} are held");
    now += 11_000;
    lease.observe(used(spent, 0, 0), now, now);
    assert_eq!(lease.lower(used(spent, 0, 0), now), Some(spent));
    // A call that came meanwhile keeps what it reserved.
    assert_eq!(lease.keep(spent, used(spent, 30, 0)), spent + 30);
}

#[test]
fn an_answer_that_was_given_up_changes_nothing() {
    let mut lease = Lease::default();
    let first = lease.report(used(0, 0, 10), 0);
    let second = lease.report(used(0, 0, 10), 100);
    assert_eq!(lease.answered(&first, open(10, 90, 1), 110), 0, "its answer comes after a newer report");
    assert_eq!(lease.answered(&second, open(10, 90, 1), 120), 10);
}

#[test]
fn without_redis_a_replica_takes_its_share_once() {
    let mut lease = Lease::default();
    let report = lease.report(used(0, 0, 10), 0);
    lease.answered(&report, open(10, 90, 3), 10);
    assert_eq!((lease.take_share(), lease.take_share()), (40, 40));
    assert_eq!(lease.share(), 30);
    let report = lease.report(used(20, 0, 0), 5_000);
    assert_eq!(report.have, 40, "what was taken is told");
    lease.answered(&report, open(40, 60, 3), 5_010);
    assert_eq!(lease.share(), 0);
}
