//! What goes wrong, and how well the router copes with it. Each prints its figures.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const MINUTE: u64 = 60_000;
const THREE: &[&str] = &["1", "1", "1"];
const ROOMY: AdmissionRule = AdmissionRule {
    ceiling: 4_096,
    adaptive: true,
    floor: 4,
    queue: 256,
    queue_timeout: Duration::from_secs(5),
};

/// Providers without limits, and calls that are strangers to each other.
fn world<'a>(
    prices: &'a [&'a str],
    length_ms: u64,
    rate: &'a dyn Fn(u64) -> u64,
    manner: &'a dyn Fn(usize, u64) -> Manner,
) -> World<'a> {
    let (rule, refusal) = (ROOMY, Sign::Limited(None));
    World { prices, length_ms, rate, manner, mode: Routing::Balanced, sessions: 0, rule, refusal }
}

#[test]
fn under_latency_calls_leave_the_quickest_provider_once_it_is_slow_and_come_back() {
    // 200, 300 and 400 ms; the first takes five times as long from the third minute to the fifth.
    let manner = |provider: usize, ms: u64| {
        let slow = provider == 0 && (2 * MINUTE..5 * MINUTE).contains(&ms);
        Manner { ttft_ms: if slow { 1_000 } else { 200 + 100 * provider as u64 }, ..WELL }
    };
    let world = World { mode: Routing::Latency, ..world(THREE, 12 * MINUTE, &|_| 50, &manner) };
    let figures = simulate(&world);
    let spans = [
        MINUTE..2 * MINUTE,
        2 * MINUTE..2 * MINUTE + 30_000,
        3 * MINUTE..5 * MINUTE,
        10 * MINUTE..12 * MINUTE,
    ];
    let [before, at_once, slow, after] = spans.clone().map(|span| figures.share(0, span));
    let [p95_before, _, p95_slow, p95_after] = spans.map(|span| figures.p95_ttft(span));
    println!(
        "latency shift: share {before:.3}, {at_once:.3} in the first 30 s, {slow:.3}, {after:.3} after it; \
         p95 of the first token (oracle) {p95_before:?}, {p95_slow:?}, {p95_after:?} ms"
    );
    assert!(before > 0.97 && at_once < 0.7 && slow < 0.02 && after > 0.97);
    for (p95, oracle) in [p95_before, p95_slow, p95_after] {
        assert!(p95 as f64 <= oracle as f64 * 1.1, "{p95} ms, oracle {oracle}");
    }
    assert!(figures.success() == 1.0 && figures.attempts_per_call() == 1.0);
}

#[test]
fn a_brown_out_costs_no_client_anything_and_few_attempts() {
    for sick in 0..3 {
        let manner = |provider: usize, ms: u64| {
            let fails = if provider == sick && ms >= MINUTE { 500 } else { 0 };
            Manner { fails, ..WELL }
        };
        let figures = simulate(&world(THREE, 6 * MINUTE, &|_| 200, &manner));
        let (tried, good) = figures.tried(sick, MINUTE..6 * MINUTE);
        println!(
            "brown-out of provider {sick}: success {:.5} of {} calls, {:.4} attempts per call, {} of {tried} attempts at it failed",
            figures.success(),
            figures.calls.len(),
            figures.attempts_per_call(),
            tried - good
        );
        assert!(figures.success() >= 0.9999);
        // The retry budget would allow 1.2; health and the breaker leave little of that to pay.
        assert!(figures.attempts_per_call() <= 1.005);
    }
}

#[test]
fn an_outage_of_the_cheapest_is_left_within_a_few_failures_and_one_probe_ends_it() {
    let outage = 2 * MINUTE..4 * MINUTE;
    let manner = |provider: usize, ms: u64| {
        let fails = if provider == 0 && outage.contains(&ms) { 1_000 } else { 0 };
        Manner { fails, ..WELL }
    };
    // Five in a row. Where many are under way the good ends of those that began before come between them.
    for (rate, most) in [(4, 10), (100, 100)] {
        let figures = simulate(&world(&["1", "2", "3"], 8 * MINUTE, &|_| rate, &manner));
        let (at_once, _) = figures.tried(0, outage.start..outage.start + 4_000);
        let (probes, _) = figures.tried(0, outage.start + 4_000..outage.end);
        let own = |one: &&Tried| one.provider == 0 && one.at_ms >= outage.end;
        let back: Vec<u64> = figures.attempts.iter().filter(own).map(|one| one.at_ms).collect();
        let (healed, alone) = (back[0] - outage.end, back[1] - back[0]);
        let after = figures.share(0, 7 * MINUTE..8 * MINUTE);
        println!(
            "outage of the cheapest at {rate} calls a second: success {:.5}, {:.4} attempts per call, {at_once} failures \
             before it was left, {probes} probes, the last one {healed} ms after it healed, others {alone} ms later, \
             share {after:.3} then",
            figures.success(),
            figures.attempts_per_call(),
        );
        assert!(figures.success() == 1.0 && figures.attempts_per_call() < 1.02);
        assert!((5..=most).contains(&at_once), "{at_once}");
        // After 5, 10, 20, 40 and 80 s.
        assert!((3..=5).contains(&probes), "{probes}");
        // The longest pause by then; nobody else is let in until the probe has ended.
        assert!(healed <= 81_000 && (400..1_500).contains(&alone));
        assert!(after > 0.97);
    }
}

#[test]
fn a_flash_crowd_gets_all_that_two_providers_have() {
    // 60 and 40 attempts of half a second at a time: 200 calls a second. 100 come, and 1,000 for half a minute.
    let crowd = MINUTE..MINUTE + 30_000;
    let rate = |ms: u64| if crowd.contains(&ms) { 1_000 } else { 100 };
    let manner = |provider: usize, _: u64| Manner { capacity: [60, 40][provider], ..WELL };
    for refusal in [Sign::Limited(None), Sign::Overloaded(None)] {
        let figures = simulate(&World { refusal, ..world(&["1", "2"], 3 * MINUTE, &rate, &manner) });
        let ended = |span: std::ops::Range<u64>| {
            let good = |call: &&Done| call.provider.is_some() && span.contains(&call.ended_ms);
            figures.calls.iter().filter(good).count() as f64
        };
        let goodput = ended(crowd.start + 500..crowd.end) / (200.0 * 29.5);
        let after = figures.within(crowd.end + 10_000..3 * MINUTE - 1_000);
        let (good, all) =
            after.fold((0, 0), |(good, all), call| (good + u32::from(call.provider.is_some()), all + 1));
        let refused = figures.attempts.iter().filter(|one| !one.good).count();
        println!(
            "flash crowd, {refusal:?}: goodput {goodput:.3} of the oracle, {refused} of {} attempts refused, \
             success ten seconds after it {:.5}",
            figures.attempts.len(),
            f64::from(good) / f64::from(all)
        );
        assert!(goodput >= 0.95, "{goodput}");
        assert!(refused as f64 <= 0.05 * figures.attempts.len() as f64, "{refused}");
        assert_eq!(good, all);
    }
}

#[test]
fn sessions_stay_where_they_are_and_only_those_of_a_target_that_goes_move() {
    let outage = 2 * MINUTE..3 * MINUTE;
    let manner = |provider: usize, ms: u64| {
        let fails = if provider == 2 && outage.contains(&ms) { 1_000 } else { 0 };
        Manner { fails, ..WELL }
    };
    let plain = world(&["1", "1.01", "1.02", "1.03"], 8 * MINUTE, &|_| 100, &manner);
    let figures = simulate(&World { sessions: 400, ..plain });
    let seats = |span: std::ops::Range<u64>| {
        let mut seats = BTreeMap::<u64, BTreeSet<usize>>::new();
        for call in figures.within(span) {
            seats.entry(call.session.unwrap()).or_default().insert(call.provider.unwrap());
        }
        seats
    };
    let (before, during) = (seats(0..outage.start), seats(outage.start + 1_000..outage.end));
    let after = seats(6 * MINUTE..8 * MINUTE);
    let whole = seats(0..8 * MINUTE);
    let moved = before.iter().filter(|(session, seats)| during.get(session).is_some_and(|now| now != *seats));
    let moved: Vec<_> = moved.collect();
    let share = moved.len() as f64 / before.len() as f64;
    println!(
        "sessions: {} of them, {:.3} moved while one of four targets was out, {:.5} success",
        before.len(),
        share,
        figures.success()
    );
    assert_eq!(figures.success(), 1.0);
    assert!(before.len() == 400 && before.values().all(|seats| seats.len() == 1));
    assert!(moved.iter().all(|(_, seats)| seats.contains(&2)) && (0.2..0.3).contains(&share), "{share}");
    assert!(before.iter().filter(|(_, seats)| !seats.contains(&2)).all(|(one, seats)| whole[one] == *seats));
    assert_eq!(after, before);
}
