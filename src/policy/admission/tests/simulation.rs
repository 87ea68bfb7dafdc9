//! A provider whose capacity moves, and callers that want more than it has: what gets through, against an oracle that
//! knows the capacity. Simulated time, seeded, deterministic.

use std::collections::BinaryHeap;

use super::*;

/// Mean time of an attempt, and length of a simulation, milliseconds.
const SERVICE_MS: u64 = 100;
const LENGTH_MS: u64 = 120_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }
}

/// An attempt that ends: at, key, refused.
type End = std::cmp::Reverse<(u64, usize, bool)>;

#[derive(Debug, Default)]
struct Figures {
    good: Vec<u64>,
    refused: u64,
    shed: u64,
    oracle: f64,
}

impl Figures {
    fn goodput(&self) -> f64 {
        self.good.iter().sum::<u64>() as f64 / self.oracle
    }

    fn refusals(&self) -> f64 {
        self.refused as f64 / (self.refused + self.good.iter().sum::<u64>()) as f64
    }

    /// Jain's index over what the keys got.
    fn fairness(&self) -> f64 {
        let sum: f64 = self.good.iter().map(|count| *count as f64).sum();
        let squares: f64 = self.good.iter().map(|count| (*count as f64).powi(2)).sum();
        sum * sum / (self.good.len() as f64 * squares)
    }
}

/// Runs callers that offer so many attempts per key and second against a capacity.
fn simulate(offers: &[u64], capacity: impl Fn(u64) -> usize) -> Figures {
    let rule =
        AdmissionRule { ceiling: 1_000, floor: 4, queue: 200, queue_timeout: Duration::from_secs(2), ..RULE };
    let (gate, start, mut random) = (Arc::<Gate>::default(), Instant::now(), Random(7));
    let mut figures = Figures { good: vec![0; offers.len()], ..Figures::default() };
    let mut ends = BinaryHeap::<End>::new();
    let (mut running, mut waiting) = (Vec::<(End, Permit)>::new(), Vec::<(usize, u64, Ticket)>::new());
    let shares: Vec<Share> = (0..offers.len()).map(|key| normal(&format!("key{key}"))).collect();
    for ms in 0..LENGTH_MS {
        let now = start + Duration::from_millis(ms);
        figures.oracle += capacity(ms) as f64 / SERVICE_MS as f64;
        while ends.peek().is_some_and(|end| end.0.0 <= ms) {
            let Some(end) = ends.pop() else { break };
            let std::cmp::Reverse((_, key, refused)) = end;
            let sign = if refused { Sign::Limited(None) } else { Sign::Good };
            gate.observe(&seen(sign, if refused { 5 } else { SERVICE_MS }), &rule, now);
            if refused {
                figures.refused += 1;
            } else {
                figures.good[key] += 1;
            }
            let at = running.iter().position(|(other, _)| *other == end).unwrap();
            drop(running.swap_remove(at));
        }
        let mut entered = Vec::new();
        for (key, offer) in offers.iter().enumerate() {
            let due = random.next() % 1_000 < offer % 1_000;
            for _ in 0..offer / 1_000 + u64::from(due) {
                match gate.try_enter(&rule) {
                    Some(permit) => entered.push((key, permit)),
                    None => match gate.enqueue(&shares[key], &rule, now, now + rule.queue_timeout) {
                        Ok(ticket) => waiting.push((key, ms + 2_000, ticket)),
                        Err(_) => figures.shed += 1,
                    },
                }
            }
        }
        waiting.retain_mut(|(key, until, ticket)| match ticket.try_recv() {
            Ok(permit) => {
                entered.push((*key, permit));
                false
            }
            Err(error) => error == oneshot::error::TryRecvError::Empty && ms < *until,
        });
        for (key, permit) in entered {
            let under_way = running.iter().filter(|(end, _)| !end.0.2).count();
            let refused = under_way >= capacity(ms);
            let takes = if refused { 5 } else { SERVICE_MS / 2 + random.next() % SERVICE_MS };
            let end = std::cmp::Reverse((ms + takes, key, refused));
            ends.push(end);
            running.push((end, permit));
        }
    }
    println!(
        "offers {:?}/s: goodput {:.3} of the oracle, {:.2} % refused upstream, {} shed, fairness {:.3}",
        if offers.len() > 4 { &offers[..4] } else { offers },
        figures.goodput(),
        100.0 * figures.refusals(),
        figures.shed,
        figures.fairness()
    );
    figures
}

#[test]
fn a_limit_that_moves_is_followed() {
    // 40, then 20, then 60 at a time; offered is more than any of them.
    let figures = simulate(&[400, 400], |ms| match ms / 40_000 {
        0 => 40,
        1 => 20,
        _ => 60,
    });
    assert!(figures.goodput() >= 0.95, "{figures:?}");
    assert!(figures.refusals() < 0.01, "{figures:?}");
    assert!(figures.fairness() >= 0.95, "{figures:?}");
}

#[test]
fn a_flash_crowd_of_ten_times_the_capacity_gets_all_that_there_is() {
    let figures = simulate(&[2_000, 2_000], |_| 40);
    assert!(figures.goodput() >= 0.9, "{figures:?}");
    assert!(figures.shed > 0 && figures.refusals() < 0.01, "{figures:?}");
}

#[test]
fn a_key_that_asks_fifty_times_as_often_takes_nothing_from_the_others() {
    let figures = simulate(&[2_500, 50], |_| 40);
    let (modest, offered) = (figures.good[1], 50 * LENGTH_MS / 1_000);
    assert!(modest as f64 >= 0.98 * offered as f64, "{modest} of {offered}");
    assert!(figures.goodput() >= 0.9, "{figures:?}");
}
