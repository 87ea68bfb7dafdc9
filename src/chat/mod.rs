//! The vocabulary of chat: requests, replies, chunks and usage in OpenAI's shape, unknown fields kept.
//!
//! No I/O, no clock, no provider names. Every wire format translates to and from these words.

pub mod conversation;
mod facts;
pub mod fields;
mod message;

pub mod request;
mod routing;
mod summary;
mod usage;

pub use conversation::Conversation;
pub use facts::{Facts, Trait, Traits};
pub use request::{ChatRequest, Effort, Uses};
pub use routing::Routing;
pub use usage::{Billed, Usage};
