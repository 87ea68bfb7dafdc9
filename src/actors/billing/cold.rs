//! Cold segments: receipts that are read back from the journal.
//!
//! Invariants: a segment stays in the list until it is closed and all of it is settled; what cannot be read is told and
//! never holds up the others.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::settlement::Transaction;
use crate::journal::{Found, Segment, Segments, read};
use crate::policy::completion;

/// The next receipts of the oldest cold segment that can be read; segments that are done leave the list.
pub(super) fn next(cold: &mut BTreeSet<u64>, segments: &Segments, max: usize) -> Option<Transaction> {
    let mut from = 0;
    while let Some(&number) = cold.range(from..).next() {
        from = number + 1;
        let Some(segment) = segments.get(number) else {
            cold.remove(&number);
            continue;
        };
        match piece(&segment, max) {
            Ok(Some(transaction)) => return Some(transaction),
            // Asked after it is closed: the writer may have added something in between.
            Ok(None) if segment.close() && segment.is_settled() => {
                cold.remove(&number);
            }
            Ok(None) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                error!(file = %segment.path().display(), "a segment of the journal is gone, and its receipts with it");
                segments.remove(&segment);
                cold.remove(&number);
            }
            Err(why) if segment.note_unreadable() => {
                error!(file = %segment.path().display(), "a segment cannot be read, and is tried again: {why}");
            }
            Err(_) => {}
        }
    }
    None
}

/// Some receipts of a segment, completed; `None` at its end.
fn piece(segment: &Arc<Segment>, max: usize) -> io::Result<Option<Transaction>> {
    while !segment.is_settled() {
        let begins = segment.settled_to() == 0;
        let found = read(segment, max)?;
        report(segment, &found);
        let Found { mut receipts, next, .. } = found;
        if begins && segment.is_adopted() {
            info!(file = %segment.path().display(), bytes = segment.written(), "settling what another process left");
        }
        if !receipts.is_empty() {
            receipts.iter_mut().for_each(completion::complete);
            return Ok(Some(Transaction { receipts, read: Some((Arc::clone(segment), next)) }));
        }
        segment.settle(next, 0, 0);
    }
    Ok(None)
}

/// Says what could not be read.
fn report(segment: &Segment, found: &Found) {
    let file = segment.path().display();
    if found.torn > 0 {
        warn!(%file, bytes = found.torn, "the journal ends in the middle of a record: cut there");
    }
    if found.damaged > 0 {
        segment.note_damage();
        error!(%file, bytes = found.damaged, "a part of the journal cannot be read: the file is set aside as .torn");
    }
}
