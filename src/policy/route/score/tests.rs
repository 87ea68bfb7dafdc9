//! Who comes first among candidates whose health, load and price are given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

/// An idle candidate of which nothing is known.
fn one(name: &str, price: f64) -> Candidate {
    Candidate {
        price,
        fits: true,
        preference: usize::MAX,
        reading: Reading::default(),
        load: Load { in_flight: 0, limit: 10, queued: 0 },
        credentials: (1, 1),
        target: Target {
            provider: Arc::from(name),
            model: Arc::from("m"),
            upstream: Arc::from("m"),
            offer: None,
            health: Arc::default(),
            ignore_soft: false,
        },
    }
}

fn read(name: &str, price: f64, reading: Reading) -> Candidate {
    Candidate { reading, ..one(name, price) }
}

fn busy(name: &str, price: f64, in_flight: usize) -> Candidate {
    Candidate { load: Load { in_flight, limit: 10, queued: 0 }, ..one(name, price) }
}

fn ejected(name: &str, price: f64, soft: bool, at: Instant) -> Candidate {
    let ejected_until = Some(at + Duration::from_secs(5));
    read(
        name,
        price,
        Reading { ejected_until, soft, attempts: 50.0, success_rate: Some(0.2), ..Reading::default() },
    )
}

struct Asked {
    at: Instant,
    mode: Routing,
    session: Option<u64>,
    exploration: u32,
    random: u64,
}

fn asked() -> Asked {
    Asked { at: Instant::now(), mode: Routing::Balanced, session: None, exploration: 0, random: 7 }
}

fn targets(candidates: Vec<Candidate>, asked: &Asked) -> Vec<Target> {
    let now =
        Now { today: "2026-02-01", at: asked.at, random: asked.random, allowed: &|_, _| true, notes: None };
    order(candidates, asked.session, asked.mode, asked.exploration, &now)
}

fn names(candidates: Vec<Candidate>, asked: &Asked) -> String {
    let names: Vec<String> = targets(candidates, asked).iter().map(|one| one.provider.to_string()).collect();
    names.join(" ")
}

/// How often each comes first, over so many draws.
fn firsts(make: impl Fn() -> Vec<Candidate>, asked: &mut Asked, draws: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for random in 0..draws {
        asked.random = random;
        *counts.entry(targets(make(), asked)[0].provider.to_string()).or_default() += 1;
    }
    counts
}

const MODES: [Routing; 4] = [Routing::Balanced, Routing::Price, Routing::Latency, Routing::Throughput];

#[test]
fn with_nothing_known_every_mode_is_cheapest_first_and_ties_are_in_file_order() {
    for mode in MODES {
        for random in 0..200 {
            let asked = Asked { mode, random, ..asked() };
            let list = vec![one("c", 3.0), one("a", 1.0), one("b", 1.0), one("u", i64::MAX as f64)];
            assert_eq!(names(list, &asked), "a b c u", "{mode:?}");
        }
    }
}

#[test]
fn a_target_that_fails_often_falls_behind_a_dearer_one_but_not_after_a_single_failure() {
    let failing = |attempts| Reading { success_rate: Some(0.0), attempts, ..Reading::default() };
    let half = Reading { success_rate: Some(0.5), attempts: 200.0, ..Reading::default() };
    assert_eq!(names(vec![read("a", 1.0, half), one("b", 2.0)], &asked()), "b a");
    assert_eq!(names(vec![read("a", 1.0, failing(1.0)), one("b", 1.2)], &asked()), "a b");
    assert_eq!(names(vec![read("a", 1.0, half), one("b", 9.0)], &asked()), "a b");
    let price = Asked { mode: Routing::Price, ..asked() };
    assert_eq!(names(vec![read("a", 1.0, half), one("b", 2.0)], &price), "a b");
}

#[test]
fn speed_counts_beyond_the_dead_zone_and_first_of_all_where_it_is_asked_for() {
    let at = |ttft_ms, speed| Reading {
        success_rate: Some(1.0),
        ttft_ms: Some(ttft_ms),
        tokens_per_s: Some(speed),
        attempts: 500.0,
        ..Reading::default()
    };
    let list = |slow| vec![read("cheap", 1.0, at(slow, 90.0)), read("quick", 1.5, at(200.0, 30.0))];
    assert_eq!(names(list(260.0), &asked()), "cheap quick");
    assert_eq!(names(list(2000.0), &asked()), "quick cheap");
    assert_eq!(names(list(260.0), &Asked { mode: Routing::Latency, ..asked() }), "quick cheap");
    assert_eq!(names(list(2000.0), &Asked { mode: Routing::Throughput, ..asked() }), "cheap quick");
    // One quick answer is no evidence, and of the third nothing is known.
    let once = Reading { attempts: 1.0, ..at(10.0, 90.0) };
    let list = vec![read("once", 1.0, once), read("often", 2.0, at(100.0, 90.0)), one("never", 3.0)];
    assert_eq!(names(list, &asked()), "once often never");
}

#[test]
fn the_ejected_come_last_and_are_still_there() {
    let now = asked();
    let list = || vec![ejected("a", 1.0, false, now.at), one("b", 2.0), busy("c", 1.5, 10)];
    assert_eq!(names(list(), &now), "b c a");
    let mut preferred = list();
    preferred[0].preference = 0;
    assert_eq!(names(preferred, &now), "b c a");
    let over = Asked { at: now.at + Duration::from_secs(5), ..asked() };
    assert_eq!(names(vec![ejected("a", 1.0, false, now.at), one("b", 9.0)], &over), "a b");
    // While a probe is out nobody else is let in.
    let probing = |name| read(name, 1.0, Reading { probing: true, ..Reading::default() });
    assert_eq!(names(vec![probing("a"), one("b", 9.0)], &now), "b a");
}

#[test]
fn at_most_half_are_softly_ejected_and_those_that_do_best_are_spared() {
    let now = asked();
    let soft = |name, rate| {
        let mut one = ejected(name, 1.0, true, now.at);
        one.reading.success_rate = Some(rate);
        one
    };
    let spared = |list: Vec<Candidate>| {
        let list = targets(list, &now);
        list.iter().filter(|one| one.ignore_soft).map(|one| one.provider.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(spared(vec![soft("a", 0.1), soft("b", 0.4), soft("c", 0.2), soft("d", 0.3)]), ["b", "d"]);
    assert_eq!(spared(vec![soft("a", 0.1)]), ["a"]);
    assert_eq!(spared(vec![soft("a", 0.1), ejected("h", 1.0, false, now.at)]), ["a"]);
    assert!(spared(vec![soft("a", 0.1), one("b", 1.0)]).is_empty());
    assert!(spared(vec![ejected("h", 1.0, false, now.at), ejected("i", 1.0, false, now.at)]).is_empty());
}

#[test]
fn a_full_provider_and_one_without_a_credential_follow_those_with_room() {
    let mut resting = one("r", 1.0);
    resting.credentials = (0, 3);
    assert_eq!(names(vec![resting, busy("f", 2.0, 10), one("b", 9.0)], &asked()), "b r f");
    let mut preferred = busy("p", 1.0, 10);
    preferred.preference = 0;
    assert_eq!(names(vec![one("b", 1.0), preferred], &asked()), "p b");
}

#[test]
fn equals_share_the_load_by_two_choices() {
    let list = || vec![busy("a", 1.0, 4), busy("b", 1.0, 9), busy("c", 1.005, 6)];
    let counts = firsts(list, &mut asked(), 3000);
    // The busiest never wins a pair; the idlest wins both that it is in.
    assert!(!counts.contains_key("b"), "{counts:?}");
    assert!((1800..2200).contains(&counts["a"]) && counts["c"] > 800, "{counts:?}");
}

#[test]
fn exploration_asks_another_first_as_often_as_it_is_told_and_nothing_dear_or_ejected() {
    let now = asked();
    let list = || vec![one("a", 1.0), one("b", 1.2), one("dear", 1.3), ejected("e", 1.1, false, now.at)];
    let mut often = Asked { exploration: 10, ..asked() };
    often.at = now.at;
    let counts = firsts(list, &mut often, 20_000);
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!((140..260).contains(&counts["b"]), "{counts:?}");
    let mut by_price = Asked { exploration: 1000, mode: Routing::Price, at: now.at, ..asked() };
    assert_eq!(firsts(list, &mut by_price, 100).len(), 1);
    let mut in_session = Asked { exploration: 1000, session: Some(3), at: now.at, ..asked() };
    assert_eq!(firsts(list, &mut in_session, 100).len(), 1);
}

#[test]
fn a_session_keeps_its_target_and_moves_only_when_that_is_out() {
    let now = asked();
    let (mut moved, mut seats) = (0, BTreeMap::<String, u32>::new());
    for session in 0..3000 {
        let asked = Asked { session: Some(session), at: now.at, random: session, ..asked() };
        let list = || vec![one("a", 1.0), one("b", 1.04), one("c", 1.02), one("dear", 1.2)];
        let first = targets(list(), &asked)[0].provider.to_string();
        let later = Asked { random: !session, ..asked };
        assert_eq!(&*targets(list(), &later)[0].provider, first);
        let without_c = vec![one("a", 1.0), one("b", 1.04), ejected("c", 1.02, false, now.at)];
        moved += u32::from(*targets(without_c, &later)[0].provider != *first);
        *seats.entry(first).or_default() += 1;
    }
    assert_eq!(seats.len(), 3, "{seats:?}");
    assert!(seats.values().all(|seats| (850..1150).contains(seats)), "{seats:?}");
    assert_eq!(moved, seats["c"], "only those of the ejected one move");
}

#[test]
fn weighted_rendezvous_shares_sessions_by_weight_and_gives_nothing_to_none() {
    let mut heavy = 0;
    for session in 0..4000 {
        let [one, other, none] =
            [("x", 3), ("y", 1), ("z", 0)].map(|(name, weight)| weighted_rendezvous(session, name, weight));
        assert!(none < one.min(other));
        heavy += u32::from(one > other);
    }
    assert!((2850..3150).contains(&heavy), "{heavy}");
}

#[test]
fn free_targets_are_told_apart_by_their_health() {
    let failing = Reading { success_rate: Some(0.1), attempts: 100.0, ..Reading::default() };
    assert_eq!(names(vec![read("a", 1.0, failing), one("b", 1.0)], &asked()), "b a");
}
