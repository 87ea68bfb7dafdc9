//! The log of one answer: written once, read by everybody who asked for it.
//!
//! While all of it is kept, a reader may begin at any time. Once it is not, only those who read already go on, and what
//! all of them have is let go. The writer is never more than [`AHEAD`] before the quickest reader, so that clients who are
//! slow hold their upstream back; one that is slower than the others by more than the bound is left behind, so that it
//! does not hold the others back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::Head;

/// Bytes that the writer may be ahead of the quickest reader.
pub const AHEAD: u64 = 256 * 1024;

/// How a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// With all that belongs to a good answer.
    Complete,
    /// With an error; what says so is in the log.
    Failed,
    /// Without a word: nobody read any more, or the writer is gone.
    Aborted,
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes.
    Bytes(Bytes),
    /// Nothing yet: wait for [`Reader::changed`].
    Nothing,
    /// It has read everything.
    Over(Over),
    /// What it would read next is gone: it was too slow.
    Behind,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    piece: u64,
    byte: u64,
}

#[derive(Debug)]
struct State {
    head: Option<Arc<Head>>,
    pieces: VecDeque<Bytes>,
    /// Where the first of `pieces` is.
    first: Place,
    /// Bytes written so far.
    end: u64,
    /// Everything is there, and will be.
    kept: bool,
    /// The last event is there; whoever leaves from now on does not end it.
    last_event: bool,
    over: Option<Over>,
    readers: HashMap<u64, Place>,
    numbers: u64,
    lag_max: u64,
}

/// The log of one answer.
#[derive(Debug)]
pub struct Log {
    state: Mutex<State>,
    written: watch::Sender<()>,
    read: watch::Sender<()>,
}

impl Log {
    /// An empty one; a reader may be `lag_max` bytes behind once the log is not kept.
    pub(super) fn new(lag_max: u64) -> Arc<Self> {
        let state = State {
            head: None,
            pieces: VecDeque::new(),
            first: Place::default(),
            end: 0,
            kept: true,
            last_event: false,
            over: None,
            readers: HashMap::new(),
            numbers: 0,
            lag_max,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            written: watch::Sender::new(()),
            read: watch::Sender::new(()),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader from the start; `None` when the start is gone or nobody writes any more.
    pub(super) fn join(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.state();
        if !state.kept || state.over == Some(Over::Aborted) {
            return None;
        }
        state.numbers += 1;
        let number = state.numbers;
        state.readers.insert(number, Place::default());
        drop(state);
        Some(Reader { log: Arc::clone(self), number, written: self.written.subscribe() })
    }

    /// True while a reader may still begin.
    pub(super) fn is_kept(&self) -> bool {
        self.state().kept
    }

    /// True when nobody is to read it any more.
    pub(super) fn is_aborted(&self) -> bool {
        self.state().over == Some(Over::Aborted)
    }

    /// Gives it its head.
    pub(super) fn begin(&self, head: Arc<Head>) {
        self.state().head = Some(head);
        self.written.send_replace(());
    }

    /// Adds bytes.
    pub(super) fn push(&self, bytes: Bytes, last_event: bool) {
        let mut state = self.state();
        state.end += bytes.len() as u64;
        state.last_event |= last_event;
        state.pieces.push_back(bytes);
        state.trim();
        drop(state);
        self.written.send_replace(());
    }

    /// From now on nobody may begin, and what all have read is let go.
    pub(super) fn stop_keeping(&self) {
        let mut state = self.state();
        state.kept = false;
        state.trim();
    }

    /// Ends it; the first word counts.
    pub(super) fn end(&self, over: Over) {
        self.state().over.get_or_insert(over);
        self.written.send_replace(());
        self.read.send_replace(());
    }

    /// Its head and all its bytes, in one piece, if they are all there.
    pub(super) fn whole(&self) -> Option<(Arc<Head>, Bytes)> {
        let state = self.state();
        let head = state.head.clone().filter(|_| state.kept)?;
        let mut body = Vec::with_capacity(usize::try_from(state.end).unwrap_or(0));
        state.pieces.iter().for_each(|piece| body.extend_from_slice(piece));
        Some((head, body.into()))
    }

    /// Waits until the quickest reader is near, or nobody reads any more.
    pub(super) async fn room(&self) {
        self.until(|state| state.over.is_some() || state.ahead() <= AHEAD).await;
    }

    /// Waits until nobody reads any more.
    pub(super) async fn aborted(&self) {
        self.until(|state| state.over == Some(Over::Aborted)).await;
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut read = self.read.subscribe();
        while !condition(&self.state()) {
            // The sender lives as long as `self`.
            let _ = read.changed().await;
        }
    }

    fn leave(&self, number: u64) {
        let mut state = self.state();
        state.readers.remove(&number);
        if state.readers.is_empty() && !state.last_event {
            state.over.get_or_insert(Over::Aborted);
        }
        state.trim();
        drop(state);
        self.read.send_replace(());
    }
}

impl State {
    /// How far the writer is before the quickest reader, bytes.
    fn ahead(&self) -> u64 {
        let quickest = self.readers.values().map(|place| place.byte).max();
        self.end - quickest.unwrap_or(self.end)
    }

    /// Lets go what nobody needs, and what only those need who are too slow.
    fn trim(&mut self) {
        if self.kept {
            return;
        }
        let places = || self.readers.values().map(|place| place.piece);
        let (slowest, quickest) = (places().min(), places().max());
        let (slowest, quickest) = (slowest.unwrap_or(u64::MAX), quickest.unwrap_or(u64::MAX));
        while let Some(piece) = self.pieces.front() {
            let too_much = self.end - self.first.byte > self.lag_max;
            // What the quickest has yet to read stays: the writer waits for it.
            if self.first.piece >= slowest && !(too_much && self.first.piece < quickest) {
                break;
            }
            self.first.byte += piece.len() as u64;
            self.first.piece += 1;
            self.pieces.pop_front();
        }
    }
}

/// One who reads. Dropping it is leaving.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    number: u64,
    written: watch::Receiver<()>,
}

impl Reader {
    /// The head, once it is there.
    pub fn head(&self) -> Option<Arc<Head>> {
        self.log.state().head.clone()
    }

    /// How it ended, if it did; there may be bytes to read yet.
    pub fn over(&self) -> Option<Over> {
        self.log.state().over
    }

    /// The next bytes, or why there are none.
    pub fn read(&mut self) -> Read {
        let mut state = self.log.state();
        let Some(mut place) = state.readers.get(&self.number).copied() else { return Read::Behind };
        let Some(at) = place.piece.checked_sub(state.first.piece) else { return Read::Behind };
        let piece = usize::try_from(at).ok().and_then(|at| state.pieces.get(at)).cloned();
        let Some(piece) = piece else { return state.over.map_or(Read::Nothing, Read::Over) };
        place.piece += 1;
        place.byte += piece.len() as u64;
        state.readers.insert(self.number, place);
        state.trim();
        drop(state);
        self.log.read.send_replace(());
        Read::Bytes(piece)
    }

    /// Waits until there may be something new.
    pub async fn changed(&mut self) {
        // The sender lives as long as the log.
        let _ = self.written.changed().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.leave(self.number);
    }
}
