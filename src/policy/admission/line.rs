//! Who is next: start-time fair queueing over keys, by weight and priority, in bounded room.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Permit, Priority, Share};

/// Virtual time that one turn of weight 1 and normal priority takes.
const TURN: u64 = 1 << 20;
/// Keys without a place that are remembered before those whose time has passed are forgotten.
const IDLE_KEYS: usize = 256;

/// A place: its start in virtual time, and its number.
type Place = (u64, u64);

/// Those who wait for a provider.
#[derive(Debug, Default)]
pub struct Line {
    places: BTreeMap<Place, (Arc<str>, oneshot::Sender<Permit>)>,
    keys: HashMap<Arc<str>, Turns>,
    /// Virtual time: the start of whoever was last.
    time: u64,
    numbers: u64,
}

/// The places of one key.
#[derive(Debug, Default)]
struct Turns {
    places: VecDeque<Place>,
    /// When its last turn is over, in virtual time.
    ends: u64,
    weight: u32,
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

    /// Keys that are remembered.
    #[cfg(test)]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Turns that come before the next one of this key, roughly.
    pub fn ahead(&self, key: &str) -> usize {
        let own = self.keys.get(key).map_or(0, |turns| turns.places.len());
        let others = self.keys.len().max(1);
        self.places.len().min((own + 1).saturating_mul(others))
    }

    /// Takes a place.
    pub fn join(&mut self, share: &Share, permit: oneshot::Sender<Permit>) {
        self.numbers += 1;
        let turns = self.keys.entry(Arc::clone(&share.key)).or_default();
        turns.weight = share.weight;
        let place = (turns.ends.max(self.time), self.numbers);
        turns.ends = place.0.saturating_add(turn(share));
        turns.places.push_back(place);
        self.places.insert(place, (Arc::clone(&share.key), permit));
    }

    /// Whoever is next and still waits.
    pub fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        while let Some((place, (key, permit))) = self.places.pop_first() {
            self.time = self.time.max(place.0);
            // The first of all is the first of its key.
            if let Some(turns) = self.keys.get_mut(&key) {
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
        let keys = &mut self.keys;
        self.places.retain(|place, (key, permit)| {
            let waits = !permit.is_closed();
            if !waits && let Some(turns) = keys.get_mut(key) {
                turns.places.retain(|other| other != place);
            }
            waits
        });
        self.forget();
    }

    /// Takes the newest place away from the key that has most for its weight, if that is more than the newcomer
    /// would have; false when the newcomer has no claim.
    pub fn make_room(&mut self, newcomer: &Share) -> bool {
        let claim = |count: usize, weight: u32| count as f64 / f64::from(weight.max(1));
        let own = self.keys.get(&newcomer.key).map_or(0, |turns| turns.places.len());
        let longest = self
            .keys
            .iter()
            .map(|(key, turns)| (claim(turns.places.len(), turns.weight), key))
            .max_by(|left, right| left.0.total_cmp(&right.0));
        let Some((most, key)) = longest else { return false };
        if *key == newcomer.key || most <= claim(own + 1, newcomer.weight) {
            return false;
        }
        let key = Arc::clone(key);
        let Some(turns) = self.keys.get_mut(&key) else { return false };
        let Some(place) = turns.places.pop_back() else { return false };
        turns.ends = place.0;
        self.places.remove(&place).is_some()
    }

    /// Forgets keys that do not wait and whose turns are over.
    fn forget(&mut self) {
        if self.keys.len() > self.places.len() + IDLE_KEYS || self.places.is_empty() {
            let time = self.time;
            self.keys.retain(|_, turns| !turns.places.is_empty() || turns.ends > time);
            if self.keys.len() > self.places.len() + IDLE_KEYS {
                // More keys than waited took one turn each at the same time: none of them is ahead of the others.
                self.keys.retain(|_, turns| !turns.places.is_empty());
            }
        }
    }
}
