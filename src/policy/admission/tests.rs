//! The gate: places, turns, bounds, and what is left of a moving limit.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::policy::health::Sign;

mod simulation;

const RULE: AdmissionRule =
    AdmissionRule { ceiling: 2, adaptive: true, floor: 1, queue: 4, queue_timeout: Duration::from_secs(5) };

fn share(key: &str, weight: u32, priority: Priority) -> Share {
    Share { key: Arc::from(key), weight, priority }
}

fn normal(key: &str) -> Share {
    share(key, 1, Priority::Normal)
}

fn seen(sign: Sign, millis: u64) -> Observation {
    let duration = Duration::from_millis(millis);
    Observation { sign, ttft: Some(duration), duration, output_tokens: None, probe: None }
}

/// Takes all places.
fn filled(gate: &Arc<Gate>) -> Vec<Permit> {
    std::iter::from_fn(|| gate.try_enter(&RULE)).collect()
}

fn queue(gate: &Arc<Gate>, share: &Share) -> Result<Ticket, Shed> {
    let now = Instant::now();
    gate.enqueue(share, &RULE, now, now + RULE.queue_timeout)
}

#[test]
fn as_many_come_in_as_there_are_places_and_who_leaves_makes_room_for_the_next() {
    let gate = Arc::<Gate>::default();
    let mut permits = filled(&gate);
    assert_eq!(permits.len(), 2);
    let mut ticket = queue(&gate, &normal("a")).unwrap();
    assert!(ticket.try_recv().is_err());
    assert_eq!(gate.load(&RULE), Load { in_flight: 2, limit: 2, queued: 1 });
    permits.pop();
    assert!(gate.try_enter(&RULE).is_none(), "the place is that of whoever waits");
    let permit = ticket.try_recv().unwrap();
    drop((permit, permits));
    assert_eq!(gate.load(&RULE), Load { in_flight: 0, limit: 2, queued: 0 });
}

#[test]
fn a_ticket_that_was_dropped_is_passed_over_and_a_permit_nobody_took_is_free_again() {
    let gate = Arc::<Gate>::default();
    let mut permits = filled(&gate);
    let (left, mut stays) = (queue(&gate, &normal("a")).unwrap(), queue(&gate, &normal("b")).unwrap());
    drop(left);
    permits.pop();
    let permit = stays.try_recv().unwrap();
    let never_read = queue(&gate, &normal("c")).unwrap();
    drop(permits);
    assert_eq!(gate.load(&RULE).in_flight, 2);
    drop((never_read, permit));
    assert_eq!(gate.load(&RULE), Load { in_flight: 0, limit: 2, queued: 0 });
}

#[test]
fn keys_take_turns_by_weight_and_priority() {
    let rule = AdmissionRule { ceiling: 1, queue: 1_000, ..RULE };
    let gate = Arc::<Gate>::default();
    let mut permit = gate.try_enter(&rule).unwrap();
    let now = Instant::now();
    let shares = [normal("a"), share("b", 3, Priority::Normal), share("c", 1, Priority::High)];
    let mut tickets = Vec::new();
    for share in &shares {
        for _ in 0..100 {
            tickets
                .push((&share.key, gate.enqueue(share, &rule, now, now + Duration::from_secs(5)).unwrap()));
        }
    }
    let mut turns = std::collections::BTreeMap::<&str, u32>::new();
    for _ in 0..80 {
        drop(permit);
        let (at, next) = tickets
            .iter_mut()
            .enumerate()
            .find_map(|(at, (_, ticket))| Some((at, ticket.try_recv().ok()?)))
            .unwrap();
        permit = next;
        *turns.entry(tickets.swap_remove(at).0.as_ref()).or_default() += 1;
    }
    let expected = [("a", 10), ("b", 30), ("c", 40)];
    for (key, count) in expected {
        assert!(turns[key].abs_diff(count) <= 1, "{turns:?}");
    }
}

#[test]
fn the_longest_queue_makes_room_for_a_key_with_a_better_claim_and_for_nobody_else() {
    let gate = Arc::<Gate>::default();
    let permits = filled(&gate);
    let mut greedy: Vec<Ticket> = (0..4).map(|_| queue(&gate, &normal("greedy")).unwrap()).collect();
    assert_eq!(queue(&gate, &normal("greedy")).unwrap_err(), Shed { retry_after: RETRY_MIN });
    let modest = queue(&gate, &normal("modest")).unwrap();
    let mut newest = greedy.pop().unwrap();
    assert_eq!(newest.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
    assert_eq!(gate.load(&RULE).queued, 4);
    // Tickets that were dropped make room, too.
    drop(greedy);
    assert!(queue(&gate, &normal("greedy")).is_ok());
    drop((permits, modest));
}

#[test]
fn who_would_wait_for_too_long_is_told_at_once_for_how_long() {
    let gate = Arc::<Gate>::default();
    let permits = filled(&gate);
    gate.observe(&seen(Sign::Good, 8_000), &RULE, Instant::now());
    let first = queue(&gate, &normal("a")).unwrap();
    let second = queue(&gate, &normal("a")).unwrap();
    assert_eq!(queue(&gate, &normal("a")).unwrap_err(), Shed { retry_after: Duration::from_secs(8) });
    drop((permits, first, second));
}

#[test]
fn refusals_lower_the_limit_once_a_burst_to_the_floor_and_good_answers_raise_it_again() {
    let rule = AdmissionRule { ceiling: 100, floor: 4, ..RULE };
    let (gate, mut now) = (Arc::<Gate>::default(), Instant::now());
    let permits: Vec<_> = (0..50).map(|_| gate.try_enter(&rule).unwrap()).collect();
    (0..10).for_each(|_| gate.observe(&seen(Sign::Overloaded(None), 10), &rule, now));
    assert_eq!(gate.load(&rule).limit, 47);
    for _ in 0..100 {
        now += Duration::from_secs(1);
        gate.observe(&seen(Sign::Limited(None), 10), &rule, now);
    }
    assert_eq!(gate.load(&rule).limit, 4);
    (0..20_000).for_each(|_| gate.observe(&seen(Sign::Good, 10), &rule, now));
    assert!(gate.load(&rule).limit > 47, "{:?}", gate.load(&rule));
    drop(permits);
    let fixed = AdmissionRule { adaptive: false, ..rule };
    assert_eq!(gate.load(&fixed).limit, 100);
}

#[test]
fn few_attempts_that_are_refused_say_nothing_of_how_many_would_be_taken() {
    let rule = AdmissionRule { ceiling: 4_096, floor: 4, ..RULE };
    let gate = Arc::<Gate>::default();
    let permits: Vec<_> = (0..4).map(|_| gate.try_enter(&rule).unwrap()).collect();
    gate.observe(&seen(Sign::Limited(None), 10), &rule, Instant::now());
    assert_eq!(gate.load(&rule).limit, 4_096);
    drop(permits);
}

#[test]
fn a_limit_is_raised_within_a_minute_however_long_attempts_take_and_forgotten_when_it_is_old() {
    let rule = AdmissionRule { ceiling: 1_000, floor: 4, ..RULE };
    let lowered = |now: Instant| {
        let gate = Arc::<Gate>::default();
        let permits: Vec<_> = (0..20).map(|_| gate.try_enter(&rule).unwrap()).collect();
        gate.observe(&seen(Sign::Overloaded(None), 10), &rule, now);
        assert_eq!(gate.load(&rule).limit, 19);
        (gate, permits)
    };
    // Answers of half a minute, one a second, while all places are taken.
    let mut now = Instant::now();
    let (gate, mut permits) = lowered(now);
    for _ in 0..60 {
        now += Duration::from_secs(1);
        gate.observe(&seen(Sign::Good, 30_000), &rule, now);
        permits.extend(std::iter::from_fn(|| gate.try_enter(&rule)));
    }
    assert_eq!(gate.load(&rule).limit, 1_000);
    // Hardly anything was asked for an hour.
    let now = Instant::now();
    let (gate, permits) = lowered(now);
    drop(permits);
    gate.observe(&seen(Sign::Good, 1_000), &rule, now + Duration::from_secs(3_600));
    assert_eq!(gate.load(&rule).limit, 1_000);
}

#[test]
fn keys_that_wait_once_each_are_not_remembered_for_good() {
    let rule = AdmissionRule { ceiling: 1, queue: 10_000, ..RULE };
    let (gate, now) = (Arc::<Gate>::default(), Instant::now());
    let mut permit = gate.try_enter(&rule).unwrap();
    let enqueue = |number: u32| {
        gate.enqueue(&normal(&format!("key{number}")), &rule, now, now + Duration::from_secs(5)).unwrap()
    };
    let mut tickets: VecDeque<Ticket> = (0..10).map(enqueue).collect();
    for number in 10..5_000 {
        tickets.push_back(enqueue(number));
        drop(permit);
        permit = tickets.pop_front().unwrap().try_recv().unwrap();
    }
    assert!(gate.inner().line.flows() <= 10 + 257, "{}", gate.inner().line.flows());
}

#[test]
fn a_newcomer_beside_a_greedy_key_is_not_put_off_by_keys_that_had_their_turns() {
    let rule = AdmissionRule { ceiling: 1, queue: 100, ..RULE };
    let (gate, now) = (Arc::<Gate>::default(), Instant::now());
    // An attempt takes a second, and nobody waits for more than five.
    gate.observe(&seen(Sign::Good, 1_000), &rule, now);
    let enqueue = |who: &Share| gate.enqueue(who, &rule, now, now + Duration::from_secs(5));
    let mut permit = Some(gate.try_enter(&rule).unwrap());
    let mut greedy: VecDeque<Ticket> = VecDeque::new();
    for number in 0..15 {
        while greedy.len() < 12
            && let Ok(ticket) = enqueue(&normal("greedy"))
        {
            greedy.push_back(ticket);
        }
        let mut once = enqueue(&normal(&format!("key{number}"))).unwrap();
        // It has its turn, the greedy one has some.
        while {
            drop(permit.take());
            permit = once.try_recv().ok();
            permit.is_none()
        } {
            permit = greedy.pop_front().and_then(|mut ticket| ticket.try_recv().ok());
        }
    }
    assert!(greedy.len() >= 3, "somebody waits: {}", greedy.len());
    assert!(enqueue(&normal("new")).is_ok());
    assert!(enqueue(&share("urgent", 1, Priority::High)).is_ok());
}

#[test]
fn threads_that_come_and_go_leave_nothing_behind() {
    let gate = Arc::<Gate>::default();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let gate = Arc::clone(&gate);
            scope.spawn(move || {
                let own = normal(&format!("key{thread}"));
                for turn in 0..2_000 {
                    match gate.try_enter(&RULE) {
                        Some(permit) => drop(permit),
                        None => {
                            if let Ok(mut ticket) = queue(&gate, &own)
                                && turn % 2 == 0
                            {
                                let _ = ticket.try_recv();
                            }
                        }
                    }
                }
            });
        }
    });
    // Whoever was let in through a ticket that was dropped has left again.
    assert_eq!(filled(&gate).len(), 2);
    assert_eq!(gate.load(&RULE), Load { in_flight: 0, limit: 2, queued: 0 });
}

proptest! {
    #[test]
    fn whatever_the_order_nobody_waits_while_there_is_room_and_all_places_come_back(
        steps in prop::collection::vec((0_u8..6, 0_usize..8), 1..300),
    ) {
        let gate = Arc::<Gate>::default();
        let (mut permits, mut tickets) = (Vec::<Permit>::new(), Vec::<Ticket>::new());
        for (step, at) in steps {
            match step {
                0 => permits.extend(gate.try_enter(&RULE)),
                1 | 2 => tickets.extend(queue(&gate, &normal(["a", "b", "c"][at % 3]))),
                3 if at < permits.len() => drop(permits.swap_remove(at)),
                4 if at < tickets.len() => drop(tickets.swap_remove(at)),
                _ => {}
            }
            tickets.retain_mut(|ticket| match ticket.try_recv() {
                Ok(permit) => { permits.push(permit); false }
                Err(error) => error == oneshot::error::TryRecvError::Empty,
            });
            let load = gate.load(&RULE);
            prop_assert_eq!(load.in_flight, permits.len());
            prop_assert!(load.in_flight <= load.limit && load.queued <= RULE.queue);
            prop_assert!(tickets.is_empty() || load.in_flight == load.limit);
        }
        drop((permits, tickets));
        let permits = filled(&gate);
        prop_assert_eq!(permits.len(), 2);
    }
}
