//! Upstream exchanges: one attempt is one HTTP conversation. The only module that knows the HTTP client.

mod drain;
mod exchange;
mod failure;
mod link;
mod meter;

pub use exchange::{Attempt, Call, Failure, ReplyEvent, run};
pub use link::Link;
pub use meter::{Finished, Meter, Sinks};
