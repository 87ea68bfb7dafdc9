//! The stub provider: a real HTTP upstream that speaks OpenAI's format, and those of other vendors, and behaves, well or badly, as it is told.
//!
//! One stub serves the demo, load tests and black-box tests alike, so that all of them meet the same upstream. What
//! it does is chosen by the model name, or by a last user message that starts with a slash (see [`Behaviour`]). It
//! stands apart: it imports nothing of the gateway, lest a mistake of the gateway be mirrored by its own test upstream.
//!
//! Invariants: deterministic but for `id` and `created`; every size, count and wait has a bound; a request for echo or
//! drip takes no shared lock and sets no timer.

mod answer;
mod behaviour;
mod chunk;
mod dialect;
mod events;
mod fault;
mod parts;
mod plain;
mod request;
mod respond;
mod schema;
mod seen;
mod server;

pub use behaviour::{BEHAVIOURS, Behaviour, Row};
pub use server::Stub;
