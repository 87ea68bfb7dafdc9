//! The breaker's every transition, and what the window says, in simulated time.

use proptest::prelude::*;

use super::*;

const RULE: BreakerRule = BreakerRule {
    consecutive_failures: 3,
    failure_rate: 50,
    slow_call: Duration::from_secs(2),
    slow_rate: 80,
    minimum_calls: 10,
    cool_down: Duration::from_secs(5),
    cool_down_max: Duration::from_secs(30),
};

fn seen(sign: Sign, probe: impl Into<Probe>) -> Observation {
    let probe = probe.into().0;
    let ttft = matches!(sign, Sign::Good).then_some(Duration::from_millis(100));
    Observation { sign, ttft, duration: Duration::from_millis(600), output_tokens: Some(50), probe }
}

/// A probe by its number; `false` is none, `true` the first one.
struct Probe(Option<u32>);

impl From<bool> for Probe {
    fn from(first: bool) -> Self {
        Self(first.then_some(1))
    }
}

impl From<Pass> for Probe {
    fn from(pass: Pass) -> Self {
        Self(pass.probe)
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A health whose breaker is open since `now`.
fn opened(now: Instant) -> TargetHealth {
    let health = TargetHealth::default();
    let changes: Vec<bool> = (0..3).map(|_| health.record(&seen(Sign::Failed, false), &RULE, now)).collect();
    assert_eq!(changes, [false, false, true]);
    health
}

#[test]
fn failures_in_a_row_open_it_and_a_good_probe_closes_it() {
    let now = Instant::now();
    let health = opened(now);
    assert_eq!(health.admit(now + secs(1), false), Err(secs(4)));
    let reading = health.reading(now);
    assert_eq!(
        (reading.state, reading.ejected_until, reading.soft),
        (State::Open, Some(now + secs(5)), false)
    );
    assert_eq!(reading.why, Ejection::ConsecutiveFailures);
    let later = now + secs(5);
    assert_eq!(health.reading(later).state, State::HalfOpen);
    assert_eq!(health.admit(later, false), Ok(Pass { probe: Some(1) }));
    assert!(health.admit(later, false).is_err(), "one probe at a time");
    assert!(health.reading(later).probing && !health.reading(later + secs(60)).probing);
    assert!(health.record(&seen(Sign::Good, true), &RULE, later));
    assert_eq!(
        (health.reading(later).state, health.admit(later, false)),
        (State::Closed, Ok(Pass::default()))
    );
    // What had opened it does not count any more.
    assert!(!health.record(&seen(Sign::Failed, false), &RULE, later));
}

#[test]
fn each_failed_probe_doubles_the_time_up_to_the_longest() {
    let mut now = Instant::now();
    let health = opened(now);
    for wait in [5, 10, 20, 30, 30] {
        now += secs(wait);
        assert_eq!(health.admit(now - Duration::from_millis(1), false), Err(Duration::from_millis(1)));
        let pass = health.admit(now, false).unwrap();
        assert!(pass.probe.is_some());
        health.record(&seen(Sign::Failed, pass), &RULE, now);
        assert_eq!(health.reading(now).why, Ejection::ProbeFailed);
    }
}

#[test]
fn a_probe_that_says_nothing_or_is_lost_makes_room_for_one_other() {
    let now = Instant::now();
    let health = opened(now);
    let later = now + secs(6);
    let pass = health.admit(later, false).unwrap();
    health.unused(pass);
    let pass = health.admit(later, false).unwrap();
    health.record(&seen(Sign::Neutral, pass), &RULE, later);
    let lost = health.admit(later, false).unwrap();
    assert!(lost.probe.is_some() && health.admit(later + secs(59), false).is_err());
    let second = health.admit(later + secs(60), false).unwrap();
    assert!(second.probe.is_some());
    // The lost one ends after all: that makes no room for a third, and it closes nothing.
    assert!(!health.record(&seen(Sign::Good, lost), &RULE, later + secs(61)));
    assert!(health.admit(later + secs(61), false).is_err());
    assert!(health.record(&seen(Sign::Good, second), &RULE, later + secs(62)));
}

#[test]
fn an_ejection_by_rate_that_is_ignored_still_ends_with_a_probe_or_hardens() {
    let softly_open = |now: Instant| {
        let health = TargetHealth::default();
        for _ in 0..5 {
            health.record(&seen(Sign::Good, false), &RULE, now);
            health.record(&seen(Sign::Failed, false), &RULE, now);
        }
        assert!(health.reading(now).soft);
        health
    };
    let now = Instant::now();
    let well = softly_open(now);
    assert_eq!(well.admit(now + secs(1), true), Ok(Pass::default()));
    let pass = well.admit(now + secs(5), true).unwrap();
    assert!(pass.probe.is_some());
    assert_eq!(well.admit(now + secs(5), true), Ok(Pass::default()), "the others go on meanwhile");
    assert!(well.record(&seen(Sign::Good, pass), &RULE, now + secs(5)));
    let dead = softly_open(now);
    for _ in 0..3 {
        let pass = dead.admit(now + secs(1), true).unwrap();
        dead.record(&seen(Sign::Failed, pass), &RULE, now + secs(1));
    }
    assert!(dead.admit(now + secs(1), true).is_err());
    assert!(!dead.reading(now + secs(1)).soft);
}

#[test]
fn the_next_outage_of_a_target_that_was_long_well_begins_with_a_short_wait_however_little_it_is_asked() {
    let (mut now, health) = (Instant::now(), TargetHealth::default());
    for _ in 0..4 {
        (0..3).for_each(|_| {
            health.record(&seen(Sign::Failed, false), &RULE, now);
        });
        assert_eq!(health.admit(now, false), Err(secs(5)));
        let pass = health.admit(now + secs(5), false).unwrap();
        health.record(&seen(Sign::Good, pass), &RULE, now + secs(5));
        now += secs(86_400);
    }
}

#[test]
fn whole_answers_are_neither_slow_nor_a_measure_of_how_streams_begin() {
    let (now, health) = (Instant::now(), TargetHealth::default());
    let whole = Observation { ttft: None, duration: secs(10), ..seen(Sign::Good, false) };
    assert!((0..40).all(|_| !health.record(&whole, &RULE, now)));
    let reading = health.reading(now);
    assert_eq!((reading.success_rate, reading.ttft_ms, reading.tokens_per_s), (Some(1.0), None, None));
}

#[test]
fn attempts_that_began_before_it_opened_neither_close_nor_prolong_it() {
    let now = Instant::now();
    let health = opened(now);
    assert!(!health.record(&seen(Sign::Failed, false), &RULE, now + secs(4)));
    assert!(!health.record(&seen(Sign::Good, false), &RULE, now + secs(4)));
    assert_eq!(health.admit(now + secs(4), false), Err(secs(1)));
}

#[test]
fn half_of_enough_attempts_failing_open_it_softly() {
    let (now, health) = (Instant::now(), TargetHealth::default());
    let mut changes = Vec::new();
    for _ in 0..5 {
        changes.push(health.record(&seen(Sign::Good, false), &RULE, now));
        changes.push(health.record(&seen(Sign::Failed, false), &RULE, now));
    }
    assert_eq!(changes.iter().position(|changed| *changed), Some(9), "{changes:?}");
    assert_eq!((health.reading(now).soft, health.reading(now).why), (true, Ejection::FailureRate));
    assert_eq!((health.admit(now, false), health.admit(now, true)), (Err(secs(5)), Ok(Pass::default())));
}

#[test]
fn slow_answers_open_it_softly_where_a_rule_says_what_is_slow() {
    for (slow_call, opens) in [(secs(2), true), (Duration::ZERO, false)] {
        let (now, health) = (Instant::now(), TargetHealth::default());
        let slow = Observation { ttft: Some(secs(3)), ..seen(Sign::Good, false) };
        let rule = BreakerRule { slow_call, ..RULE };
        let changed = (0..20).any(|_| health.record(&slow, &rule, now));
        assert_eq!((changed, health.reading(now).soft), (opens, opens));
        assert_eq!(health.reading(now).why == Ejection::SlowRate, opens);
    }
}

#[test]
fn what_the_provider_says_itself_is_kept_to_and_no_longer_than_an_hour() {
    for (told, kept) in [(secs(40), secs(40)), (secs(100_000), secs(3_600))] {
        let (now, health) = (Instant::now(), TargetHealth::default());
        assert!(health.record(&seen(Sign::Overloaded(Some(told)), false), &RULE, now));
        assert_eq!((health.admit(now, false), health.reading(now).state), (Err(kept), State::Open));
        assert_eq!(health.reading(now).why, Ejection::Told);
        assert!(health.admit(now + kept, false).is_ok());
    }
}

#[test]
fn attempts_that_are_refused_together_for_overload_count_once_in_a_row() {
    let (now, health) = (Instant::now(), TargetHealth::default());
    let refused = |ms: u64| {
        let seen =
            Observation { duration: Duration::from_millis(600), ..seen(Sign::Overloaded(None), false) };
        health.record(&seen, &RULE, now + Duration::from_millis(ms))
    };
    assert!((0..5).all(|ms| !refused(ms)));
    assert!(!refused(700));
    assert!(refused(1_400));
    assert!(!health.reading(now).soft);
}

#[test]
fn what_the_caller_or_the_credential_is_to_blame_for_never_counts() {
    let (now, health) = (Instant::now(), TargetHealth::default());
    for sign in [Sign::Neutral, Sign::Limited(None), Sign::Limited(Some(secs(9))), Sign::Refused] {
        assert!((0..50).all(|_| !health.record(&seen(sign, false), &RULE, now)));
    }
    assert_eq!(health.reading(now), Reading::default());
}

#[test]
fn old_attempts_weigh_less_and_are_forgotten_after_five_minutes() {
    let (now, health) = (Instant::now(), TargetHealth::default());
    let rule = BreakerRule { consecutive_failures: 1_000, failure_rate: 0, ..RULE };
    for _ in 0..10 {
        health.record(&seen(Sign::Failed, false), &rule, now);
    }
    for _ in 0..10 {
        health.record(&seen(Sign::Good, false), &rule, now + secs(120));
    }
    let reading = health.reading(now + secs(121));
    assert!(reading.success_rate.unwrap() > 0.7, "{reading:?}");
    assert!(
        (reading.ttft_ms.unwrap() - 100.0).abs() < 1.0 && (reading.tokens_per_s.unwrap() - 100.0).abs() < 1.0
    );
    assert_eq!(health.reading(now + secs(1_000)).success_rate, None);
}

#[test]
fn the_percentile_is_that_of_the_times_and_needs_twenty() {
    let (now, health) = (Instant::now(), TargetHealth::default());
    for ms in 1..=100 {
        let ttft = Some(Duration::from_millis(ms * 10));
        if ms == 20 {
            assert_eq!(health.p95_ttft(now), None);
        }
        health.record(&Observation { ttft, ..seen(Sign::Good, false) }, &RULE, now);
    }
    let p95 = health.p95_ttft(now).unwrap().as_secs_f32();
    assert!((0.93..=1.05).contains(&p95), "{p95}");
}

proptest! {
    #[test]
    fn whatever_happens_one_probe_is_out_and_an_open_breaker_is_asked_again(
        steps in prop::collection::vec((0_u8..7, 0_u64..20), 1..200),
    ) {
        let (mut now, health) = (Instant::now(), TargetHealth::default());
        let mut out: Option<Pass> = None;
        let mut since = now;
        for (step, seconds) in steps {
            now += secs(seconds);
            if now.duration_since(since) >= secs(60) {
                out = None;
            }
            let sign = match step {
                0 => Sign::Good,
                1 => Sign::Failed,
                2 => Sign::Overloaded(None),
                3 => Sign::Neutral,
                4 => Sign::Limited(None),
                _ => {
                    if let Ok(pass @ Pass { probe: Some(_) }) = health.admit(now, false) {
                        prop_assert!(out.is_none());
                        (out, since) = (Some(pass), now);
                    }
                    continue;
                }
            };
            health.record(&seen(sign, out.take().unwrap_or_default()), &RULE, now);
            let reading = health.reading(now);
            prop_assert!(reading.success_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
            prop_assert!(reading.ejected_until.is_none_or(|until| until <= now + RULE.cool_down_max));
            // A clock that jumps back does no harm.
            let _ = health.reading(now.checked_sub(secs(30)).unwrap_or(now));
        }
        prop_assert!(health.admit(now + secs(91), false).is_ok());
    }
}
