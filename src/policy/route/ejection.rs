//! What health says of a plan: targets that are not asked just now come last, and rates alone eject half at most.

use std::time::Instant;

use super::Target;

/// Puts those that are ejected last. An ejection by rate alone (failures, slowness) counts for at most half of the
/// targets: when most of them do badly it is not them, and somebody must be asked. The others are spared.
pub(super) fn set_back(targets: &mut [Target], now: Instant) {
    let mut soft_left = targets.len() / 2;
    let mut ejected = Vec::with_capacity(targets.len());
    for target in targets.iter_mut() {
        let reading = target.health.reading(now);
        let out = reading.ejected_until.is_some();
        target.spared = out && reading.soft && soft_left == 0;
        if out && reading.soft && !target.spared {
            soft_left -= 1;
        }
        ejected.push(out && !target.spared);
    }
    if !ejected.contains(&true) {
        return;
    }
    // Stable: the order among those that are asked, and among the others, stays.
    let mut at = 0;
    for from in 0..targets.len() {
        if ejected.get(from) == Some(&false) {
            if let Some(moved) = targets.get_mut(at..=from) {
                moved.rotate_right(1);
            }
            at += 1;
        }
    }
}
