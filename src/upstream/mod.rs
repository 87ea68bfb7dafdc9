//! Upstream exchanges: one attempt is one HTTP conversation. The only module that knows the HTTP client.

mod call;
mod drain;
mod exchange;
mod failure;
mod link;
mod meter;

pub use call::{Call, CallFacts};
pub use exchange::{Attempt, Failure, ReplyEvent, run};
pub use link::{Link, LinkError, Outgoing, tls_config};
pub use meter::{Finished, Meter, Sinks};
