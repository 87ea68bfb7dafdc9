//! Encoding a request.

use crate::error::Error;
use crate::wire::encode::{FieldTable, Job, Notes, Written};

/// What becomes of each field.
pub const FIELDS: FieldTable = &[];

/// Writes a request.
pub fn write(job: &Job<'_>, notes: &mut Notes) -> Result<Written, Error> {
    let _ = (job, notes);
    Err(Error::Internal)
}
