//! Decoding a stream.

use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Events, Flow, Frame};

/// Starts reading a stream.
pub fn start() -> Box<dyn Events> {
    Box::new(Stream)
}

#[derive(Debug)]
struct Stream;

impl Events for Stream {
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        let _ = (frame, answer);
        Err(DecodeError::invalid("this format is not read yet"))
    }
}
