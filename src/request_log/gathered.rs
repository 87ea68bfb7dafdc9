//! Bodies as a call gathered them, and the room for those that wait for a thread that masks them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The beginning of a body, and how long it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// As much as is kept and the rules look at.
    pub bytes: Vec<u8>,
    /// Its whole length.
    pub length: usize,
}

/// The bodies of one call: those that may be kept. Not masked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// What the client sent.
    pub request: Option<Raw>,
    /// What it was sent.
    pub response: Option<Raw>,
    /// Bytes that are kept of each.
    pub max: usize,
}

impl Bodies {
    /// What they take, bytes.
    pub fn bytes(&self) -> usize {
        [&self.request, &self.response].into_iter().flatten().map(|raw| raw.bytes.capacity()).sum()
    }
}

/// Bytes that wait, of at most so many. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Waiting {
    bytes: Arc<AtomicUsize>,
    max: usize,
}

impl Waiting {
    /// None yet.
    pub fn new(max: usize) -> Self {
        Self { bytes: Arc::default(), max }
    }

    /// Room for so many more, if there is.
    pub fn take(&self, bytes: usize) -> Option<Room> {
        let fits = |waiting: usize| waiting.checked_add(bytes).filter(|sum| *sum <= self.max);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok().then(|| Room { waiting: Arc::clone(&self.bytes), bytes })
    }

    /// Bytes that wait now.
    pub fn now(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Bytes that wait: given back when dropped.
#[derive(Debug)]
pub struct Room {
    waiting: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
