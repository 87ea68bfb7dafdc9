//! The stub provider: a real HTTP upstream that speaks OpenAI's wire format and does what the model's name, or a
//! last message that starts with a slash, tells it to. It serves the demo, load tests and client suites alike.
//!
//! Invariants: no key is needed and none is looked at; an answer depends on the request alone (but for `flaky`);
//! every answer, pause and body has a bound.

mod answer;
mod behaviour;
mod render;
mod request;
mod schema;
mod server;

pub use behaviour::{Behaviour, EXAMPLES};
pub use server::{Stub, StubError};
