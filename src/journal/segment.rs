//! Segments: what is known of each file of the journal, shared by its writer, Billing and the keeper.
//!
//! Invariants: only the writer appends, and only while it holds the segment ([`Segment::begin`]); who closes a segment does
//! so between two appends, so that what was written is final from then on; positions only grow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Nobody writes just now, and the writer may.
const OPEN: u8 = 0;
/// The writer is at it.
const WRITING: u8 = 1;
/// Nothing is written any more.
const CLOSED: u8 = 2;

/// One file of the journal.
#[derive(Debug)]
pub struct Segment {
    number: u64,
    path: PathBuf,
    salt: u32,
    state: AtomicU8,
    written: AtomicU64,
    appended: AtomicU64,
    settled_to: AtomicU64,
    settled: AtomicU64,
    /// Time of the oldest record that is not settled, as far as is known.
    since_ms: AtomicI64,
    adopted: bool,
    damaged: AtomicBool,
    pub(super) dirty: AtomicBool,
    /// That it cannot be read was told.
    unreadable: AtomicBool,
    /// Where the keeper saw it last, to tell an idle one.
    pub(super) seen: AtomicU64,
}

impl Segment {
    /// One that a writer begins and holds for its first append.
    pub(super) fn begun(number: u64, path: PathBuf, salt: u32) -> Self {
        Self {
            number,
            path,
            salt,
            state: AtomicU8::new(WRITING),
            written: AtomicU64::new(0),
            appended: AtomicU64::new(0),
            settled_to: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            since_ms: AtomicI64::new(0),
            adopted: false,
            damaged: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        }
    }

    /// One that a process left which is gone.
    pub(super) fn adopted(number: u64, path: PathBuf, salt: u32, bytes: u64, since_ms: i64) -> Self {
        let segment = Self { adopted: true, ..Self::begun(number, path, salt) };
        segment.written.store(bytes, Ordering::Relaxed);
        segment.since_ms.store(since_ms, Ordering::Relaxed);
        segment.state.store(CLOSED, Ordering::Release);
        segment
    }

    /// Unique in this process; older ones have smaller numbers.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its check sums begin with.
    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    /// True when another process wrote it.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Where its last good record ends.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Up to where its records are in the store.
    pub fn settled_to(&self) -> u64 {
        self.settled_to.load(Ordering::Acquire)
    }

    /// True when everything written is in the store.
    pub fn is_settled(&self) -> bool {
        self.settled_to() >= self.written()
    }

    /// Receipts that are not in the store.
    pub fn unsettled(&self) -> u64 {
        if self.is_settled() {
            return 0;
        }
        let known =
            self.appended.load(Ordering::Relaxed).saturating_sub(self.settled.load(Ordering::Relaxed));
        // Of another process's it is only known that there is something.
        known.max(1)
    }

    /// The store has `count` more of its receipts, up to `end`. They are settled in the order in which they were written,
    /// and the last one ended at `time_ms`.
    pub fn settle(&self, end: u64, count: u64, time_ms: i64) {
        self.settled.fetch_add(count, Ordering::Relaxed);
        if count > 0 {
            self.since_ms.store(time_ms, Ordering::Relaxed);
        }
        self.settled_to.fetch_max(end, Ordering::AcqRel);
    }

    /// Some of it could not be read: the file is set aside and not deleted.
    pub fn note_damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// It could not be read just now; true when that is news.
    pub fn note_unreadable(&self) -> bool {
        !self.unreadable.swap(true, Ordering::Relaxed)
    }

    /// True after [`note_damage`](Self::note_damage).
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Holds it for one append; false when it is closed.
    pub(super) fn begin(&self) -> bool {
        self.state.compare_exchange(OPEN, WRITING, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// A record was written, the writer lets go of it. Gives where the record ends.
    pub(super) fn end(&self, bytes: u64, time_ms: i64) -> u64 {
        let before = self.written.load(Ordering::Relaxed);
        if self.settled_to() >= before {
            self.since_ms.store(time_ms, Ordering::Relaxed);
        }
        self.appended.fetch_add(1, Ordering::Relaxed);
        self.dirty.store(true, Ordering::Relaxed);
        self.written.store(before + bytes, Ordering::Release);
        self.state.store(OPEN, Ordering::Release);
        before + bytes
    }

    /// The writer is done with it for good.
    pub(super) fn give_up(&self) {
        self.state.store(CLOSED, Ordering::Release);
    }

    /// Closes it, unless the writer is at it just now; true when it is closed.
    pub fn close(&self) -> bool {
        let closed = self.state.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        closed.is_ok() || closed == Err(CLOSED)
    }

    /// True when nothing is written any more.
    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }
}

/// How journalling goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Receipts are written.
    Ok = 0,
    /// The disk takes nothing.
    Failing = 1,
    /// It holds as much as it may.
    Full = 2,
}

/// The segments there are, and the journal's numbers.
#[derive(Debug, Default)]
pub struct Segments {
    live: Mutex<BTreeMap<u64, Arc<Segment>>>,
    numbers: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    missed: AtomicU64,
    standing: AtomicU8,
    sheds: AtomicBool,
    /// A file was made: the folder itself is to be synchronised.
    pub(super) folder_dirty: AtomicBool,
}

impl Segments {
    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Segment>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for the next one.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes one in.
    pub(super) fn insert(&self, segment: Segment) -> Arc<Segment> {
        let segment = Arc::new(segment);
        self.bytes.fetch_add(segment.written(), Ordering::Relaxed);
        self.live().insert(segment.number, Arc::clone(&segment));
        self.folder_dirty.store(true, Ordering::Relaxed);
        segment
    }

    /// Forgets one.
    pub fn remove(&self, segment: &Segment) {
        if self.live().remove(&segment.number).is_some() {
            self.bytes.fetch_sub(segment.written(), Ordering::Relaxed);
        }
    }

    /// The segment of a number; `None` when it is gone, and everything in it settled.
    pub fn get(&self, number: u64) -> Option<Arc<Segment>> {
        self.live().get(&number).map(Arc::clone)
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.live().values().map(Arc::clone).collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.live().len()
    }

    /// Bytes in all of them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// `more` bytes were written.
    pub(super) fn grew(&self, more: u64) {
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    /// Receipts that are written and not in the store.
    pub fn unsettled(&self) -> u64 {
        self.live().values().map(|segment| segment.unsettled()).sum()
    }

    /// True when everything written is in the store.
    pub fn is_settled(&self) -> bool {
        self.live().values().all(|segment| segment.is_settled())
    }

    /// When the oldest receipt ended that is not in the store, milliseconds since the epoch.
    pub fn oldest_ms(&self) -> Option<i64> {
        let live = self.live();
        let unsettled = live.values().filter(|segment| !segment.is_settled());
        unsettled.map(|segment| segment.since_ms.load(Ordering::Relaxed)).min()
    }

    /// Writes and synchronisations that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// One failed.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Receipts that were not written.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// One was not written.
    pub(super) fn miss(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// How journalling goes.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Ok,
            1 => Standing::Failing,
            _ => Standing::Full,
        }
    }

    /// Notes how it goes; true when that is news.
    pub(super) fn stand(&self, standing: Standing) -> bool {
        self.standing.swap(standing as u8, Ordering::Relaxed) != standing as u8
    }

    /// Whether new calls are refused while receipts cannot be written.
    pub(super) fn shed_when_down(&self, sheds: bool) {
        self.sheds.store(sheds, Ordering::Relaxed);
    }

    /// True when no new call must be taken.
    pub fn sheds(&self) -> bool {
        self.standing() != Standing::Ok && self.sheds.load(Ordering::Relaxed)
    }
}
