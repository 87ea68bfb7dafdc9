//! Decoding a stream.

use super::candidates::Candidates;
use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Events, Flow, Frame};

/// Starts reading a stream.
pub fn start() -> Box<dyn Events> {
    Box::new(Stream(Candidates::default()))
}

#[derive(Debug)]
struct Stream(Candidates);

impl Events for Stream {
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        self.0.read(frame.data, answer)?;
        Ok(Flow::Continue)
    }

    /// There is no terminal event: a stream is whole when all its candidates finished.
    fn end_of_input(&mut self, answer: &mut Answer) -> Result<bool, DecodeError> {
        Ok(self.0.close(answer))
    }
}
