//! The writer of one cell: a receipt is one `write` to the end of the cell's own segment.
//!
//! What cannot be written stays in memory and is settled from there. After a failure nothing is tried until the keeper
//! has found that the disk takes something again.
//!
//! Invariants: a record is whole or cut off; a segment is given up at the first failure, so that nothing ever follows a
//! torn record; no lock is taken but to begin a segment.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use tracing::error;

use super::codec;
use super::open::Journal;
use super::segment::{Segment, Standing};
use crate::receipt::{Place, Receipt};

/// Segments at once at most: a disk that takes a few bytes per file must not be littered.
const SEGMENTS_MAX: usize = 20_000;
/// A buffer that grew beyond this for one receipt is not kept.
const BUFFER_KEPT_MAX: usize = 64 * 1024;

/// Appends the receipts of one cell.
#[derive(Debug)]
pub struct Writer {
    journal: Arc<Journal>,
    worker: u64,
    next: u64,
    open: Option<(Arc<Segment>, File)>,
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn new(journal: Arc<Journal>, worker: u64) -> Self {
        Self { journal, worker, next: 0, open: None, buffer: Vec::new() }
    }

    /// Writes a receipt and notes in it where. One that reached nobody is no row of the ledger and is not written.
    pub fn append(&mut self, receipt: &mut Receipt) {
        if !receipt.reached {
            return;
        }
        let segments = &self.journal.segments;
        if segments.standing() != Standing::Ok {
            return segments.miss();
        }
        if !codec::encode(receipt, &mut self.buffer) {
            return segments.miss();
        }
        if segments.bytes() + self.buffer.len() as u64 > self.journal.settings.max_bytes {
            segments.miss();
            if segments.stand(Standing::Full) {
                error!(bytes = segments.bytes(), "the journal is full: receipts are kept in memory alone");
            }
            return;
        }
        // A segment that could grow no more says nothing of the next one.
        match self.write(receipt.time_ms).or_else(|_| self.write(receipt.time_ms)) {
            Ok(place) => receipt.place = Some(place),
            Err(why) => {
                segments_failed(&self.journal, &why);
                self.journal.segments.miss();
            }
        }
        if self.buffer.capacity() > BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
    }

    /// Bytes of a receipt's record; nothing is written.
    pub fn size_of(&mut self, receipt: &Receipt) -> usize {
        codec::encode(receipt, &mut self.buffer);
        codec::seal(&mut self.buffer, 0);
        self.buffer.len()
    }

    /// Writes what is in the buffer.
    fn write(&mut self, time_ms: i64) -> io::Result<Place> {
        let bytes = self.buffer.len() as u64;
        let limit = self.journal.settings.segment_bytes;
        let fits = |open: &&(Arc<Segment>, File)| {
            let written = open.0.written();
            (written == 0 || written + bytes <= limit) && open.0.begin()
        };
        if self.open.as_ref().filter(fits).is_none() {
            if let Some((segment, _)) = self.open.take() {
                segment.give_up();
            }
            self.open = Some(self.begin()?);
        }
        let Some((segment, file)) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        codec::seal(&mut self.buffer, segment.salt());
        if let Err(error) = file.write_all(&self.buffer) {
            self.journal.segments.failed();
            // Should this fail, too, the tail is cut by whoever reads it.
            let _ = file.set_len(segment.written());
            segment.give_up();
            self.open = None;
            return Err(error);
        }
        let end = segment.end(bytes, time_ms);
        self.journal.segments.grew(bytes);
        Ok(Place { segment: segment.number(), end })
    }

    /// Begins a segment, held for its first record.
    fn begin(&mut self) -> io::Result<(Arc<Segment>, File)> {
        let segments = &self.journal.segments;
        if segments.count() >= SEGMENTS_MAX {
            return Err(io::Error::other(format!("there are {SEGMENTS_MAX} segments already")));
        }
        let path = self.journal.segment_path(self.worker, self.next);
        self.next += 1;
        let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        let file = made.inspect_err(|_| segments.failed())?;
        let salt = Journal::salt(&path);
        Ok((segments.insert(Segment::begun(segments.next_number(), path, salt)), file))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some((segment, _)) = self.open.take() {
            segment.give_up();
        }
    }
}

/// Nothing can be written: says so once.
pub(super) fn segments_failed(journal: &Journal, why: &io::Error) {
    if journal.segments.stand(Standing::Failing) {
        error!("the journal cannot be written, receipts are kept in memory alone: {why}");
    }
}
