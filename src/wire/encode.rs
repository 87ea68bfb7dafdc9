//! Encoding a request into another format: what every format shares. The words are the format's own.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Number;
use serde_json::value::RawValue;

use super::Quirks;
use crate::chat::conversation::{Detail, Message, Role};
use crate::chat::{ChatRequest, Conversation, Facts, fields};
use crate::error::Error;

/// A request and the target it shall go to.
pub struct Order<'a> {
    /// The client's bytes.
    pub body: &'a Bytes,
    /// What was read from them.
    pub request: &'a ChatRequest,
    /// The model's name upstream.
    pub model: &'a str,
    /// The vendor's dialect.
    pub quirks: &'a Quirks,
    /// What is known of the model.
    pub facts: Facts,
    /// Refuse instead of dropping parameters.
    pub strict: bool,
    /// What was fetched for the addresses in it.
    pub media: &'a Media,
    /// Reasoning that this upstream minted for an assistant's message, when the client did not send it back.
    pub recall: &'a dyn Fn(&Message<'_>) -> Vec<Detail<'static>>,
}

/// Images that were fetched: address -> media type and base64.
#[derive(Clone, Debug, Default)]
pub struct Media(pub BTreeMap<String, (String, String)>);

impl Media {
    /// Bytes of base64 in all.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|(_, data)| data.len()).sum()
    }

    /// Media type and base64 of an address.
    pub fn get(&self, url: &str) -> Option<(&str, &str)> {
        self.0.get(url).map(|(mime, data)| (mime.as_str(), data.as_str()))
    }
}

/// A request as it goes upstream.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The body.
    pub body: Bytes,
    /// Parameters that the target cannot take and that were left out.
    pub dropped: Vec<String>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

/// What a format's encoder is given.
pub struct Job<'a> {
    /// The request as values.
    pub conversation: &'a Conversation<'a>,
    /// The model's name upstream.
    pub model: &'a str,
    /// The vendor's dialect.
    pub quirks: &'a Quirks,
    /// What is known of the model.
    pub facts: Facts,
    /// What was fetched for the addresses in it.
    pub media: &'a Media,
}

/// The request's fields, without those that the provider's row drops.
#[derive(Clone, Copy)]
pub struct Given<'a>(pub &'a Job<'a>);

impl<'a> Given<'a> {
    /// The row does not drop it.
    pub fn takes(self, name: &str) -> bool {
        !self.0.quirks.drop_params.iter().any(|dropped| dropped == name)
    }

    /// A field as the client wrote it.
    pub fn raw(self, name: &str) -> Option<&'a RawValue> {
        self.0.conversation.field(name).filter(|_| self.takes(name))
    }

    /// A number, exactly as written.
    pub fn number(self, name: &str) -> Option<Number> {
        self.0.conversation.number(name).filter(|_| self.takes(name))
    }
}

/// What a format's encoder makes.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The body.
    pub body: Vec<u8>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

/// The tool that stands in for a form of the answer where a model knows no other way to be bound to a schema: what
/// it is called with is the answer's text, and no client sees the call.
pub const ANSWER_TOOL: &str = "answer_in_the_required_form";
/// What the model is told of it.
pub const ANSWER_TOOL_PURPOSE: &str = "Give the answer by calling this, in the form of its parameters.";

/// What becomes of a field of the client's request in a format. docs/fields.md is made of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Goes upstream with the same meaning, perhaps under another name.
    Passed,
    /// Becomes something else of the same meaning, or is passed under conditions.
    Mapped,
    /// Left out and named in `x-gateway-dropped-params`; 400 under strict.
    Dropped,
    /// 400.
    Refused,
}

/// Every field of [`fields::FIELDS`] that is not the gateway's own, and the vendor's own fields that are passed.
pub type FieldTable = &'static [(&'static str, Handling)];

/// Parameters that were left out, each once, in the order they were met.
#[derive(Debug, Default)]
pub struct Notes {
    dropped: Vec<String>,
}

impl Notes {
    /// Notes a parameter (its name or its path in the request) that is left out.
    pub fn drop_param(&mut self, name: impl Into<String>) {
        let name = name.into();
        if !self.dropped.contains(&name) {
            self.dropped.push(name);
        }
    }
}

/// 400 for something that a target cannot take and that cannot be left out.
pub fn unsupported(param: &str, model: &str, advice: &str) -> Error {
    let message = format!("`{param}` is not supported by `{model}`; {advice}.");
    Error::invalid_code(message, Some(param), "unsupported_parameter")
}

/// Under strict, the first parameter that was left out is a 400.
pub fn refuse_dropped(dropped: &[String], model: &str) -> Result<(), Error> {
    let Some(param) = dropped.first() else { return Ok(()) };
    let message = format!("`{param}` is not supported by `{model}`, and strict mode refuses to drop it.");
    Err(Error::invalid_code(message, Some(param), "unsupported_parameter"))
}

/// Encodes an order with a format's own writer.
///
/// # Errors
/// 400 when the target cannot take a parameter that cannot be dropped, or that `strict` says not to drop.
pub fn encode(
    order: &Order<'_>,
    table: FieldTable,
    write: fn(&Job<'_>, &mut Notes) -> Result<Written, Error>,
) -> Result<Encoded, Error> {
    let mut conversation = Conversation::read(order.request, order.body)?;
    for message in conversation.messages.iter_mut() {
        // Some clients send back what they know of a block and lose the rest: without its scheme it is nobody's.
        let lost = message.details.iter().all(|detail| detail.format.is_none());
        if message.role == Role::Assistant && lost {
            message.details = (order.recall)(message);
        }
    }
    let mut notes = Notes::default();
    sort_out(&conversation, order, table, &mut notes)?;
    for name in &order.quirks.drop_params {
        conversation.leave_out(name);
    }
    let job = Job {
        conversation: &conversation,
        model: order.model,
        quirks: order.quirks,
        facts: order.facts,
        media: order.media,
    };
    let written = write(&job, &mut notes)?;
    if order.strict {
        refuse_dropped(&notes.dropped, order.model)?;
    }
    Ok(Encoded { body: Bytes::from(written.body), dropped: notes.dropped, headers: written.headers })
}

/// Drops and refuses what the table says. A field that asks for nothing is neither.
fn sort_out(
    conversation: &Conversation<'_>,
    order: &Order<'_>,
    table: FieldTable,
    notes: &mut Notes,
) -> Result<(), Error> {
    for name in conversation.given() {
        let ours = fields::find(name).is_some_and(|field| field.ours);
        let written = conversation.field(name).map_or("null", |raw| raw.get());
        if ours || asks_for_nothing(name, written) {
            continue;
        }
        let dropped_by_row = order.quirks.drop_params.iter().any(|param| param == name);
        let handling = table.iter().find(|(known, _)| *known == name).map(|(_, handling)| *handling);
        match handling {
            _ if dropped_by_row => notes.drop_param(name),
            Some(Handling::Passed | Handling::Mapped) => {}
            Some(Handling::Dropped) | None => notes.drop_param(name),
            Some(Handling::Refused) => {
                return Err(unsupported(name, order.model, "leave it out or choose another model"));
            }
        }
    }
    Ok(())
}

/// True when a value is what everyone does anyway: leaving it out changes nothing.
fn asks_for_nothing(name: &str, written: &str) -> bool {
    match name {
        "frequency_penalty" | "presence_penalty" => written.parse() == Ok(0.0),
        "n" => written == "1",
        "logprobs" | "store" => written == "false",
        "logit_bias" | "metadata" => written == "{}",
        "top_logprobs" => written == "0",
        "modalities" => written.replace(char::is_whitespace, "") == r#"["text"]"#,
        "service_tier" => matches!(written, "\"auto\"" | "\"default\""),
        _ => false,
    }
}
