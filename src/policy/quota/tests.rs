//! What a quota promises, told to it minute by minute.

use super::*;

fn limits(rpm: u32, tpm: u32, concurrency: u32) -> Limits {
    Limits { rpm: NonZeroU32::new(rpm), tpm: NonZeroU32::new(tpm), concurrency: NonZeroU32::new(concurrency) }
}

fn quota(rpm: u32, tpm: u32, concurrency: u32) -> (KeyQuota, Instant) {
    let origin = Instant::now();
    (KeyQuota::new(limits(rpm, tpm, concurrency), origin), origin)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_key_without_limits_admits_everything_and_reports_nothing() {
    let (quota, now) = quota(0, 0, 0);
    let permits: Vec<_> = (0..1000).map(|_| quota.admit(u64::MAX, now).unwrap()).collect();
    assert_eq!(quota.in_flight(), 1000);
    assert_eq!(quota.snapshot(now), Snapshot::default());
    drop(permits);
    assert_eq!(quota.in_flight(), 0);
}

#[test]
fn requests_come_back_at_the_rate_of_the_limit() {
    let (quota, now) = quota(60, 0, 0);
    for _ in 0..60 {
        drop(quota.admit(0, now).unwrap());
    }
    let denied = quota.admit(0, now).unwrap_err();
    assert_eq!(denied, Denied { limit: "requests per minute", retry_after: Some(SECOND) });
    assert_eq!(quota.in_flight(), 0, "a refusal takes nothing");
    let gauge = quota.snapshot(now).requests.unwrap();
    assert_eq!((gauge.limit, gauge.remaining, gauge.reset), (60, 0, 60 * SECOND));
    drop(quota.admit(0, now + SECOND).unwrap());
    quota.admit(0, now + SECOND).unwrap_err();
    assert_eq!(quota.snapshot(now + 31 * SECOND).requests.unwrap().remaining, 30);
    assert_eq!(quota.snapshot(now + 99 * SECOND).requests.unwrap().remaining, 60);
}

#[test]
fn concurrency_is_freed_by_settling_and_by_dropping() {
    let (quota, now) = quota(0, 0, 2);
    let first = quota.admit(0, now).unwrap();
    let second = quota.admit(0, now).unwrap();
    assert_eq!(quota.admit(0, now).unwrap_err().limit, "concurrent requests");
    first.settle(10);
    let third = quota.admit(0, now).unwrap();
    quota.admit(0, now).unwrap_err();
    drop((second, third));
    assert_eq!(quota.in_flight(), 0);
}

#[test]
fn tokens_are_reserved_then_settled() {
    let (quota, now) = quota(0, 1000, 0);
    let left = |at: Instant| quota.snapshot(at).tokens.unwrap().remaining;
    let permit = quota.admit(800, now).unwrap();
    assert_eq!(left(now), 200);
    let denied = quota.admit(300, now + 20 * SECOND).unwrap_err();
    assert_eq!(denied, Denied { limit: "tokens per minute", retry_after: Some(40 * SECOND) });
    permit.settle(100);
    assert_eq!(left(now), 900);
    drop(quota.admit(900, now).unwrap());
    assert_eq!(left(now), 900, "a dropped permit gives its estimate back");
}

#[test]
fn tokens_beyond_the_estimate_are_paid_by_the_minutes_that_follow() {
    let (quota, now) = quota(0, 1000, 0);
    quota.admit(10, now).unwrap().settle(2500);
    assert_eq!(quota.admit(1, now).unwrap_err().retry_after, Some(120 * SECOND));
    assert_eq!(quota.admit(500, now + 60 * SECOND).unwrap_err().retry_after, Some(60 * SECOND));
    assert_eq!(quota.admit(501, now + 60 * SECOND).unwrap_err().retry_after, Some(120 * SECOND));
    drop(quota.admit(500, now + 120 * SECOND).unwrap());
    assert_eq!(quota.snapshot(now + 120 * SECOND).tokens.unwrap().remaining, 500);
}

#[test]
fn a_reservation_of_a_minute_gone_by_is_not_given_back_twice() {
    let (quota, now) = quota(0, 1000, 0);
    let old = quota.admit(1000, now).unwrap();
    let young = quota.admit(600, now + 60 * SECOND).unwrap();
    drop(old);
    assert_eq!(quota.snapshot(now + 60 * SECOND).tokens.unwrap().remaining, 400);
    young.settle(600);
    assert_eq!(quota.snapshot(now + 60 * SECOND).tokens.unwrap().remaining, 400);
}

#[test]
fn a_call_larger_than_the_limit_is_told_that_waiting_is_useless() {
    let (quota, now) = quota(0, 1000, 0);
    let denied = quota.admit(1001, now).unwrap_err();
    assert_eq!(denied.retry_after, None);
    assert_eq!(Error::from(denied).class().status, 400);
    assert_eq!(Error::from(Denied { limit: "x", retry_after: Some(SECOND) }).class().status, 429);
}

#[test]
fn a_refusal_by_one_limit_takes_nothing_of_the_others() {
    let (quota, now) = quota(1, 1000, 1);
    drop(quota.admit(0, now).unwrap());
    assert_eq!(quota.admit(400, now).unwrap_err().limit, "requests per minute");
    assert_eq!(quota.snapshot(now).tokens.unwrap().remaining, 1000);
    assert_eq!(quota.in_flight(), 0);
}

#[test]
fn other_limits_keep_what_is_used() {
    let (quota, now) = quota(10, 1000, 5);
    let permit = quota.admit(600, now).unwrap();
    let wider = quota.with_limits(limits(10, 2000, 1));
    assert_eq!(wider.admit(0, now).unwrap_err().limit, "concurrent requests");
    assert_eq!(wider.snapshot(now).tokens.unwrap().remaining, 1400);
    assert_eq!(wider.snapshot(now).requests.unwrap().remaining, 9);
    drop(permit);
    assert_eq!(wider.in_flight(), 0);
    assert_eq!(wider.snapshot(now).tokens.unwrap().remaining, 2000);
}

#[test]
fn threads_together_never_exceed_a_limit() {
    let (quota, now) = quota(0, 1000, 7);
    let admitted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    if let Ok(permit) = quota.admit(3, now) {
                        assert!(quota.in_flight() <= 7);
                        admitted.fetch_add(1, Ordering::Relaxed);
                        permit.settle(3);
                    }
                }
            });
        }
    });
    assert!(admitted.into_inner() <= 333);
    assert_eq!(quota.in_flight(), 0);
}

#[test]
fn credits_are_drawn_given_back_and_owed() {
    use super::credits::{Credits, Draw, Granted, Wish};
    let limits = Limits { rpm: NonZeroU32::new(6_000), tpm: NonZeroU32::new(60_000), concurrency: None };
    let (credits, now) = (Credits::default(), Duration::ZERO);
    assert_eq!(credits.draw(limits, 100, now), Draw::Short);
    let wish = credits.ask(limits, 100, 1);
    assert_eq!((wish.requests, wish.tokens, wish.more_requests, wish.debt), (1, 100, 3, 0));
    let had = Granted { admitted: true, requests: 4, tokens: 400, minute: 7, ..Granted::default() };
    assert_eq!(credits.granted(&wish, had, 100, now), Ok(7));
    assert_eq!(credits.draw(limits, 100, now), Draw::Had(7), "of what was had beyond");
    // It used 500 more than it drew: that is told, and told again if nobody heard.
    credits.settle(7, 100, 1_000);
    let told = credits.plan(limits, 1).expect("it owes");
    assert_eq!(told.debt, 700);
    credits.lost(&told);
    assert_eq!(credits.plan(limits, 1).map(|wish| wish.debt), Some(700));
    // Nobody calls: all goes back, once.
    let back: Vec<Wish> = (0..40).filter_map(|_| credits.plan(limits, 1)).collect();
    assert_eq!(back.iter().map(|wish| wish.more_requests.min(0)).sum::<i64>(), -2);
    assert!(credits.is_idle());
    // A refusal is not asked for again at once.
    let wish = credits.ask(limits, 50, 1);
    let no = Granted { tokens_wait_ms: 900, minute: 7, ..Granted::default() };
    assert!(credits.granted(&wish, no, 50, now).is_err());
    assert!(matches!(credits.draw(limits, 60, Duration::from_millis(100)), Draw::Refused(_)));
    assert_eq!(credits.draw(limits, 60, Duration::from_millis(300)), Draw::Short);
}
