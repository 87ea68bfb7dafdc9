//! Reading a segment back, a bounded piece at a time.
//!
//! What is damaged is passed over: the next record that its check sum proves is searched for, and what lies between is
//! reported. A tail that is the mere beginning of a record, or nothing but zeros, is what a crash leaves: it is cut.
//!
//! Invariants: every read goes forward; its work is bounded by the size of a piece and by [`SEARCH_MAX`]; no bytes make
//! it panic.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::RECORD_MAX;
use super::codec::{self, BEGINNING, HEADER, Parsed};
use super::segment::Segment;
use crate::receipt::{Place, Receipt};

/// Bytes of one read. Larger than any record, so that each read gets on.
const PIECE: usize = 2 * RECORD_MAX;
/// Bytes that one search for the next record may check. Text that imitates beginnings of records costs no more.
const SEARCH_MAX: usize = 64 << 20;

/// What a piece of a segment held.
#[derive(Debug, Default)]
pub struct Found {
    /// Its receipts, in the order in which they were booked.
    pub receipts: Vec<Receipt>,
    /// Where the next piece begins.
    pub next: u64,
    /// Bytes that were passed over: no record, or one that this version cannot read.
    pub damaged: u64,
    /// Bytes of an unfinished record at the very end.
    pub torn: u64,
}

/// Reads at most `max` receipts of a segment, from where it is settled to.
///
/// # Errors
/// The file cannot be opened or read.
pub fn read(segment: &Segment, max: usize) -> io::Result<Found> {
    let (from, end) = (segment.settled_to(), segment.written());
    let length = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX).min(PIECE);
    let mut bytes = vec![0; length];
    let read = fill(&File::open(segment.path())?, &mut bytes, from)?;
    bytes.truncate(read);
    // A file that is shorter than it was has lost its end.
    let is_end = from + read as u64 >= end || read < length;
    let mut found = parse_all(&bytes, segment.salt(), is_end, max);
    for receipt in &mut found.receipts {
        if let Some(place) = &mut receipt.place {
            place.segment = segment.number();
            place.end += from;
        }
    }
    if read < length {
        found.damaged += end - from - read as u64;
        found.next = end - from;
    }
    found.next += from;
    Ok(found)
}

/// Reads until the buffer is full or the file at its end.
fn fill(file: &File, bytes: &mut [u8], from: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Reads records; `is_end` when nothing follows these bytes. Places are relative to them.
pub(super) fn parse_all(bytes: &[u8], salt: u32, is_end: bool, max: usize) -> Found {
    let mut found = Found::default();
    let mut at = 0;
    while at < bytes.len() && found.receipts.len() < max {
        let rest = bytes.get(at..).unwrap_or_default();
        match codec::parse(rest, salt) {
            Parsed::Record(mut receipt, size) => {
                at += size;
                receipt.place = Some(Place { segment: 0, end: at as u64 });
                found.receipts.push(*receipt);
            }
            Parsed::Unknown(size) => {
                at += size;
                found.damaged += size as u64;
            }
            // The next piece begins with it; every record fits into one.
            Parsed::Cut if !is_end && at > 0 => break,
            Parsed::Cut | Parsed::Wrong => {
                let next = search(rest, salt, is_end).max(1);
                let skipped = next.min(rest.len());
                let ends = is_end && next >= rest.len();
                let is_tail =
                    matches!(codec::parse(rest, salt), Parsed::Cut) || rest.iter().all(|byte| *byte == 0);
                if ends && is_tail {
                    found.torn += skipped as u64;
                } else {
                    found.damaged += skipped as u64;
                }
                at += skipped;
            }
        }
    }
    found.next = at as u64;
    found
}

/// How far it is to the next record, or to where the next piece should look on.
fn search(bytes: &[u8], salt: u32, is_end: bool) -> usize {
    let mut checked = 0;
    for beginning in memchr::memmem::find_iter(bytes, &BEGINNING) {
        let Some(at) = beginning.checked_sub(HEADER).filter(|at| *at > 0) else { continue };
        let rest = bytes.get(at..).unwrap_or_default();
        match codec::parse(rest, salt) {
            Parsed::Record(..) | Parsed::Unknown(_) => return at,
            Parsed::Cut if !is_end => return at,
            Parsed::Cut => {}
            Parsed::Wrong => {
                let length = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
                checked += length.min(RECORD_MAX);
                if checked > SEARCH_MAX {
                    break;
                }
            }
        }
    }
    if is_end { bytes.len() } else { bytes.len().saturating_sub(HEADER + BEGINNING.len() - 1) }
}
