//! OpenAI's chat completions, as OpenAI and the many vendors that follow it speak it.
//!
//! Same format in and out: bytes are passed on and only the touched members replaced. What a vendor does
//! differently is a field of its row ([`super::Quirks`]), read here and nowhere else.

mod choice;
mod error;
mod finish;
mod plain;
mod reply;
mod request;
mod rewrite;
mod stream;
mod think;
mod tool_calls;
mod usage;

pub use error::{decode_error, from_value as fault_of, stands_alone};
pub use reply::Reply;
pub use request::encode_request;
pub use stream::Decoder;
