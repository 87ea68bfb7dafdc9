//! The keys of this process: which of them run, and how the others were answered.
//!
//! The table's lock is taken before a log's, is held for a look-up or a change, and never across an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::log::{Log, Over, Reader};
use super::{Answer, Digest, Head};

/// Bytes that an entry takes besides its answer, and a piece of a log besides its bytes.
const ENTRY_BYTES: usize = 512;
const PIECE_BYTES: usize = 64;

/// Bounds of a table.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes held at most, all answers together.
    pub bytes_max: usize,
    /// Keys at most, running ones included.
    pub keys_max: usize,
    /// Bytes of one answer at most that can be given again.
    pub answer_max: usize,
    /// How long an answer is kept.
    pub life: Duration,
}

/// An answer as it is kept.
#[derive(Debug)]
enum Kept {
    Whole(Arc<Answer>),
    /// It was too large to keep.
    TooLarge,
}

#[derive(Debug)]
enum Entry {
    Running(Arc<Log>),
    Answered { kept: Kept, bytes: usize, until: Instant, serial: u64 },
}

#[derive(Debug, Default)]
struct Entries {
    by_name: HashMap<Digest, (Digest, Entry)>,
    /// Answered ones, oldest first.
    ages: BTreeMap<u64, Digest>,
    bytes: usize,
    serial: u64,
}

/// The table, shared by all cells.
#[derive(Debug)]
pub struct Table {
    entries: Mutex<Entries>,
    rules: Rules,
}

/// What becomes of a request that carries a key.
#[derive(Debug)]
pub enum Begun {
    /// It is the first: its answer is to be written, and it reads it as the others do.
    Lead(Box<Lead>, Reader),
    /// The same request runs.
    Join(Reader),
    /// The same request was answered.
    Replay(Arc<Answer>),
    /// The key was used for another request.
    Reused,
    /// The answer was, or already is, too large to be given again.
    TooLarge,
    /// There are as many keys as there may be, and all of them run.
    Full,
}

impl Table {
    /// An empty one.
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), rules })
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its bounds.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Keys that run.
    pub fn running(&self) -> usize {
        let entries = self.entries();
        entries.by_name.len() - entries.ages.len()
    }

    /// A request with this key and fingerprint is there.
    pub fn begin(self: &Arc<Self>, name: Digest, fingerprint: Digest, now: Instant) -> Begun {
        let mut entries = self.entries();
        entries.forget_expired(&name, now);
        if let Some((other, entry)) = entries.by_name.get(&name) {
            let ended = matches!(entry, Entry::Running(log) if log.is_aborted());
            match entry {
                // Its leader has not noticed yet that nobody reads.
                _ if ended => {}
                _ if *other != fingerprint => return Begun::Reused,
                Entry::Answered { kept: Kept::Whole(answer), .. } => {
                    return Begun::Replay(Arc::clone(answer));
                }
                Entry::Answered { kept: Kept::TooLarge, .. } => return Begun::TooLarge,
                Entry::Running(log) => match log.join() {
                    Some(reader) => return Begun::Join(reader),
                    None if !log.is_kept() => return Begun::TooLarge,
                    None => {}
                },
            }
        } else if !entries.room_for_key(self.rules.keys_max) {
            return Begun::Full;
        }
        let log = Log::new(self.rules.answer_max as u64);
        let Some(reader) = log.join() else { return Begun::Full };
        entries.by_name.insert(name, (fingerprint, Entry::Running(Arc::clone(&log))));
        drop(entries);
        let lead = Lead { table: Arc::clone(self), name, log, bytes: 0, held: 0, kept: true, ended: false };
        Begun::Lead(Box::new(lead), reader)
    }

    /// Takes `bytes` more for a running answer; false when there is no room even without the answered ones.
    fn take(&self, bytes: usize) -> bool {
        let mut entries = self.entries();
        while entries.bytes + bytes > self.rules.bytes_max {
            if !entries.forget_oldest() {
                return false;
            }
        }
        entries.bytes += bytes;
        true
    }
}

impl Entries {
    fn forget_expired(&mut self, name: &Digest, now: Instant) {
        if let Some((_, Entry::Answered { until, serial, .. })) = self.by_name.get(name)
            && *until <= now
        {
            let serial = *serial;
            self.forget(serial);
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.ages.first_key_value().map(|(serial, _)| *serial);
        oldest.map(|serial| self.forget(serial)).is_some()
    }

    /// Forgets an answered one.
    fn forget(&mut self, serial: u64) {
        let name = self.ages.remove(&serial);
        if let Some((_, Entry::Answered { bytes, .. })) = name.and_then(|name| self.by_name.remove(&name)) {
            self.bytes -= bytes;
        }
    }

    fn room_for_key(&mut self, most: usize) -> bool {
        self.by_name.len() < most || self.forget_oldest()
    }
}

/// The one who writes a key's answer. Dropping it ends the log, and frees the key unless it was finished.
#[derive(Debug)]
pub struct Lead {
    table: Arc<Table>,
    name: Digest,
    log: Arc<Log>,
    /// Bytes of the answer so far.
    bytes: usize,
    /// What it has taken of the table's bytes.
    held: usize,
    kept: bool,
    ended: bool,
}

impl Lead {
    /// Gives the answer its head.
    pub fn begin(&self, head: Head) {
        self.log.begin(Arc::new(head));
    }

    /// Adds bytes; `last_event` when a stream's last event is among them.
    pub fn push(&mut self, bytes: &[u8], last_event: bool) {
        self.bytes += bytes.len();
        let more = bytes.len() + PIECE_BYTES;
        if self.kept && self.bytes <= self.table.rules.answer_max && self.table.take(more) {
            self.held += more;
        } else if self.kept {
            self.kept = false;
            self.log.stop_keeping();
            self.give_back();
        }
        // Copied: a piece of a larger buffer would hold all of it.
        self.log.push(Bytes::copy_from_slice(bytes), last_event);
    }

    /// Waits until more may be written: the quickest reader is near.
    pub async fn room(&self) {
        self.log.room().await;
    }

    /// Waits until nobody reads any more.
    pub async fn aborted(&self) {
        self.log.aborted().await;
    }

    /// The answer failed: whoever reads it has been told, and the key is free.
    pub fn fail(mut self) {
        self.free(Over::Failed);
    }

    /// The answer is complete: kept until `now` plus its life. Gives it, unless it was too large.
    pub fn finish(self, now: Instant) -> Option<Arc<Answer>> {
        let until = now + self.table.rules.life;
        self.keep(until)
    }

    fn keep(mut self, until: Instant) -> Option<Arc<Answer>> {
        let whole = self.log.whole();
        let answer = whole.map(|(head, body)| Arc::new(Answer { head, body }));
        let (kept, size) = match &answer {
            Some(answer) => (Kept::Whole(Arc::clone(answer)), answer.body.len()),
            None => (Kept::TooLarge, 0),
        };
        self.give_back();
        let bytes = size + ENTRY_BYTES;
        // Where there is no room the key is free again, and others have kept theirs.
        let room = self.table.take(bytes);
        let mut entries = self.table.entries();
        if !self.is_current(&entries) {
            if room {
                entries.bytes -= bytes;
            }
        } else if room {
            entries.serial += 1;
            let serial = entries.serial;
            if let Some((_, entry)) = entries.by_name.get_mut(&self.name) {
                *entry = Entry::Answered { kept, bytes, until, serial };
            }
            entries.ages.insert(serial, self.name);
        } else {
            entries.by_name.remove(&self.name);
        }
        drop(entries);
        self.ended = true;
        self.log.end(Over::Complete);
        // What readers have yet to read is all that it is for now.
        self.log.stop_keeping();
        answer
    }

    /// Another replica has answered: whoever joined gets that, and whoever comes until then.
    pub fn adopt(mut self, answer: &Answer, until: Instant) {
        self.log.begin(Arc::clone(&answer.head));
        self.push(&answer.body, true);
        self.keep(until);
    }

    /// True while the key is this one's: after everybody left, another may have begun.
    fn is_current(&self, entries: &Entries) -> bool {
        let entry = entries.by_name.get(&self.name);
        matches!(entry, Some((_, Entry::Running(log))) if Arc::ptr_eq(log, &self.log))
    }

    fn give_back(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.table.entries().bytes -= held;
    }

    fn free(&mut self, over: Over) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.give_back();
        let mut entries = self.table.entries();
        if self.is_current(&entries) {
            entries.by_name.remove(&self.name);
        }
        drop(entries);
        self.log.end(over);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.free(Over::Aborted);
    }
}

#[cfg(test)]
impl Table {
    /// What it holds: keys, bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        let entries = self.entries();
        (entries.by_name.len(), entries.bytes)
    }
}
