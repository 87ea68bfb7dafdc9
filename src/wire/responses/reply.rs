//! Decoding a whole reply.

use super::ending::{Response, fault};
use super::output::{self, Tools};
use crate::json::Members;
use crate::wire::DecodeError;
use crate::wire::openai;
use crate::wire::translate::Answer;

/// Reads a reply.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let unreadable = || DecodeError::invalid("it is not a JSON object");
    let text = std::str::from_utf8(body).map_err(|_| unreadable())?;
    let members = Members::parse(text).map_err(|_| unreadable())?;
    let stated = |name: &str| members.get(text, name).is_some_and(|value| value != "null");
    if !stated("output") && !stated("status") {
        if stated("error") || openai::stands_alone(&members, text) {
            return Err(DecodeError::Fault(openai::decode_error(200, body)));
        }
        return Err(DecodeError::invalid("it has no `output`"));
    }
    let response = Response::read(text)?;
    let status = response.status.as_deref().unwrap_or("unknown");
    if status == "failed" {
        return Err(DecodeError::Fault(fault(200, response.error.as_ref())));
    }
    response.introduce(answer);
    let mut tools = Tools::default();
    for item in response.output.iter().flatten() {
        output::tell(item, &mut tools, answer)?;
    }
    response.conclude(status, &mut tools, answer)
}
