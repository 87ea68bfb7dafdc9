//! Decoding a whole reply.

use crate::wire::DecodeError;
use crate::wire::translate::Answer;

/// Reads a reply.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let _ = (body, answer);
    Err(DecodeError::invalid("this format is not read yet"))
}
