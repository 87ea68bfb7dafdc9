//! Answers of version 1 of the API: other names for less. They are read, never asked for.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{citation, finish, usage};
use crate::chat::conversation::Str;
use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Flow, unreadable};

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    response_id: Option<Str<'a>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    citations: Option<Value>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    generation_id: Option<Str<'a>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    citations: Option<Value>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow)]
    response: Option<End<'a>>,
}

#[derive(Deserialize)]
struct End<'a> {
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

/// Reads a whole reply.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(|_| unreadable())?;
    answer.id(reply.response_id.as_deref().unwrap_or_default());
    answer.text(0, reply.text.as_deref().unwrap_or_default());
    calls(reply.tool_calls, answer);
    cite(reply.citations.as_ref(), answer);
    if let Some(meta) = reply.meta {
        usage::tell(meta, answer);
    }
    finish::tell(reply.finish_reason.as_deref(), None, answer)
}

/// Takes one event of a stream.
pub fn event(kind: &str, data: &[u8], answer: &mut Answer) -> Result<Flow, DecodeError> {
    let event: Event<'_> = serde_json::from_slice(data).map_err(|_| unreadable())?;
    match kind {
        "stream-start" => answer.id(event.generation_id.as_deref().unwrap_or_default()),
        "text-generation" => answer.text(0, event.text.as_deref().unwrap_or_default()),
        "tool-calls-generation" => calls(event.tool_calls, answer),
        "citation-generation" => cite(event.citations.as_ref(), answer),
        "stream-end" => {
            if let Some(meta) = event.response.and_then(|response| response.meta) {
                usage::tell(meta, answer);
            }
            finish::tell(event.finish_reason.as_deref(), None, answer)?;
            return Ok(Flow::End);
        }
        _ => {}
    }
    Ok(Flow::Continue)
}

/// Calls have no ids, and arguments that are an object.
fn calls(calls: Option<Vec<Call<'_>>>, answer: &mut Answer) {
    for call in calls.into_iter().flatten() {
        let index = answer.open_call(0, "", &call.name);
        answer.call_arguments(0, index, call.parameters.map_or("", RawValue::get));
    }
}

fn cite(citations: Option<&Value>, answer: &mut Answer) {
    if let Some(citations) = citations {
        citation::tell(citations, &citation::Blocks::default(), answer);
    }
}
