//! The journal: every receipt is on disk, in the page cache at least, before the last byte of its answer is sent.
//!
//! Why: a process can be killed at any moment, and a store can be away for an hour. Neither may cost a receipt, nor the
//! memory to hold an hour of them.
//!
//! How: each cell's [`Writer`] appends to a segment of its own with one `write` per receipt. Billing settles the same
//! receipts from memory and moves the segment's position; a segment of which everything is settled is deleted by the
//! `keeper`. What Billing has no room for is read back from its segment later. What a process left that is gone is read
//! by the next one.
//!
//! Invariants: no lock is shared with another thread on the way of a receipt; a record that is damaged never hides those
//! after it; nothing that was not settled is deleted; two processes in one folder leave each other's segments alone.

mod codec;
mod fields;
mod keeper;
mod open;
mod read;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use keeper::Keeper;
pub use open::{Journal, JournalError};
pub use read::{Found, read};
pub use segment::{Segment, Segments, Standing};
pub use writer::Writer;

/// Largest record, bytes: the texts of an attempt without usage are 128 KiB, names are what the client made them. A
/// receipt beyond it stays in memory until it is settled.
const RECORD_MAX: usize = 1 << 20;
