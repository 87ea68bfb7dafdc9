//! How many messages wait for an actor, and how many found no room: actix does not say, so those who send count.
//!
//! What is sent and answered is counted for as long as its [`Waiting`] is held, so also on cancel; what is sent and not
//! answered is counted by whoever sends and by whoever takes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The messages on their way to one actor, or to all of a kind on one cell. Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct Mailbox(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicI64,
    full: AtomicU64,
}

/// A message that waits for its answer.
#[derive(Debug)]
#[must_use = "the message counts as answered when this drops"]
pub struct Waiting<'a>(&'a Counts);

impl Mailbox {
    /// A message is sent whose answer is waited for while the guard is held. `capacity`: how many may wait before one
    /// more has to wait for room.
    pub fn enter(&self, capacity: usize) -> Waiting<'_> {
        let before = self.0.waiting.fetch_add(1, Ordering::Relaxed);
        if usize::try_from(before).is_ok_and(|before| before >= capacity) {
            self.0.full.fetch_add(1, Ordering::Relaxed);
        }
        Waiting(&self.0)
    }

    /// A message is about to be sent.
    pub fn sent(&self) {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// One was taken out, or could not be sent.
    pub fn taken(&self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// One that was about to be sent found the mailbox full.
    pub fn found_full(&self) {
        self.taken();
        self.0.full.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that wait.
    pub fn waiting(&self) -> u64 {
        // Who takes one may be quicker than who counts it as sent.
        u64::try_from(self.0.waiting.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Messages that found it full, so far.
    pub fn full(&self) -> u64 {
        self.0.full.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_until_it_is_answered_or_given_up_and_what_finds_no_room_for_good() {
        let mailbox = Mailbox::default();
        let one = mailbox.enter(1);
        let two = mailbox.enter(1);
        assert_eq!((mailbox.waiting(), mailbox.full()), (2, 1));
        drop((one, two));
        mailbox.sent();
        mailbox.found_full();
        assert_eq!((mailbox.waiting(), mailbox.full()), (0, 2));
        mailbox.taken();
        assert_eq!(mailbox.waiting(), 0, "never less than nothing");
    }
}
