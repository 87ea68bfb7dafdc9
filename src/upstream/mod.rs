//! Upstream exchanges: one attempt is one HTTP conversation. The only module that knows the HTTP client.

mod auth;
mod call;
mod client;
mod collector;
mod deadline;
mod drain;
mod exchange;
mod failure;
mod fetch;
mod link;
mod meter;
mod notify;
mod room;
mod telling;
mod tls;
mod told;

pub use auth::Keyring;
pub use call::{Call, CallFacts, Paying, Traced};
pub use collector::{Collector, NotTaken};
pub use exchange::{Attempt, Failure, Lender, ReplyEvent, run};
pub use fetch::{Fetched, Fetcher, Fetching, Wanted};
pub use link::{Link, LinkError, Outgoing, Previewed};
pub use meter::{Finished, Held, Meter, Sinks};
pub use notify::notify;
pub use tls::tls_config;
