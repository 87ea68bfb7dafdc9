//! Who is next: self-clocked fair queueing over keys, by weight and priority, in bounded room.
//!
//! Whose turn would be over first is next, so that the urgent and the heavy come before others that are as new. The
//! calls of one key at another priority are a line of their own: its urgent ones do not wait behind its batch.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Permit, Priority, Share};

/// Virtual time that one turn of weight 1 and normal priority takes.
const TURN: u64 = 1 << 20;
/// Flows without a place that are remembered before those whose time has passed are forgotten.
const IDLE_FLOWS: usize = 256;

/// Whose turns: a key, at one priority.
type Flow = (Arc<str>, Priority);

/// A place: when its turn would be over, in virtual time, and its number.
type Place = (u64, u64);

/// Those who wait for a provider.
#[derive(Debug, Default)]
pub struct Line {
    places: BTreeMap<Place, (Flow, oneshot::Sender<Permit>)>,
    flows: HashMap<Flow, Turns>,
    /// Virtual time: the end of the turn of whoever was last.
    time: u64,
    numbers: u64,
}

/// The places of one flow.
#[derive(Debug, Default)]
struct Turns {
    places: VecDeque<Place>,
    /// When its last turn is over, in virtual time.
    ends: u64,
    /// What a turn takes.
    turn: u64,
}

fn flow(share: &Share) -> Flow {
    (Arc::clone(&share.key), share.priority)
}

/// Virtual time of one turn.
fn turn(share: &Share) -> u64 {
    let base = TURN / u64::from(share.weight.clamp(1, 1_000_000));
    match share.priority {
        Priority::High => base / 4,
        Priority::Normal => base,
        Priority::Low => base.saturating_mul(4),
    }
    .max(1)
}

impl Line {
    /// Calls that wait, those that left unnoticed included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Flows that are remembered.
    #[cfg(test)]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Turns that come before the next one of this caller.
    pub fn ahead(&self, share: &Share) -> usize {
        let begins = self.flows.get(&flow(share)).map_or(self.time, |turns| turns.ends.max(self.time));
        self.places.range(..(begins.saturating_add(turn(share)), u64::MAX)).count()
    }

    /// Takes a place.
    pub fn join(&mut self, share: &Share, permit: oneshot::Sender<Permit>) {
        self.numbers += 1;
        let turns = self.flows.entry(flow(share)).or_default();
        turns.turn = turn(share);
        turns.ends = turns.ends.max(self.time).saturating_add(turns.turn);
        let place = (turns.ends, self.numbers);
        turns.places.push_back(place);
        self.places.insert(place, (flow(share), permit));
    }

    /// Whoever is next and still waits.
    pub fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        while let Some((place, (flow, permit))) = self.places.pop_first() {
            self.time = self.time.max(place.0);
            // The first of all is the first of its flow.
            if let Some(turns) = self.flows.get_mut(&flow) {
                turns.places.pop_front();
            }
            if !permit.is_closed() {
                self.forget();
                return Some(permit);
            }
        }
        self.forget();
        None
    }

    /// Forgets places of those that left.
    pub fn sweep(&mut self) {
        let flows = &mut self.flows;
        self.places.retain(|place, (flow, permit)| {
            let waits = !permit.is_closed();
            if !waits && let Some(turns) = flows.get_mut(flow) {
                turns.places.retain(|other| other != place);
            }
            waits
        });
        self.forget();
    }

    /// Takes the newest place away from the flow that has most for its weight, if that is more than the newcomer
    /// would have; false when the newcomer has no claim.
    pub fn make_room(&mut self, newcomer: &Share) -> bool {
        let claim = |count: usize, turn: u64| (count as u64).saturating_mul(turn);
        let new = flow(newcomer);
        let own = self.flows.get(&new).map_or(0, |turns| turns.places.len());
        let longest = self
            .flows
            .iter()
            .map(|(flow, turns)| (claim(turns.places.len(), turns.turn), flow))
            .max_by_key(|(claim, _)| *claim);
        let Some((most, longest)) = longest else { return false };
        if *longest == new || most <= claim(own + 1, turn(newcomer)) {
            return false;
        }
        let longest = longest.clone();
        let Some(turns) = self.flows.get_mut(&longest) else { return false };
        let Some(place) = turns.places.pop_back() else { return false };
        turns.ends = place.0.saturating_sub(turns.turn);
        self.places.remove(&place).is_some()
    }

    /// Forgets flows that do not wait and whose turns are over.
    fn forget(&mut self) {
        if self.flows.len() > self.places.len() + IDLE_FLOWS || self.places.is_empty() {
            let time = self.time;
            self.flows.retain(|_, turns| !turns.places.is_empty() || turns.ends > time);
            if self.flows.len() > self.places.len() + IDLE_FLOWS {
                // More than waited took one turn each at the same time: none of them is ahead of the others.
                self.flows.retain(|_, turns| !turns.places.is_empty());
            }
        }
    }
}
