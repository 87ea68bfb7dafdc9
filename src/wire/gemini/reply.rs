//! Decoding a whole reply.

use super::candidates::Candidates;
use crate::wire::DecodeError;
use crate::wire::translate::Answer;

/// Reads a reply: one object, or the array that a stream is without server-sent events.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let mut candidates = Candidates::default();
    candidates.read(body, answer)?;
    candidates.close(answer);
    Ok(())
}
