//! A chat request as values: messages, parts, tools and choices, for formats that say the same in other words.
//!
//! Read from the client's bytes on demand, and only for such formats; where OpenAI's own words travel on, the
//! bytes are spliced instead. Nothing is copied that need not be: texts and data URLs borrow from the body, and
//! JSON that is passed on as it is (schemas, cache marks, unknown parts) stays written as the client wrote it, so
//! that equal requests make equal bytes.

mod detail;
mod message;
mod read;
mod tools;

pub use detail::Detail;
pub use message::{Body, File, Image, Message, Part, Role, ToolCall, data_url};
pub use read::Str;
pub use tools::{ResponseFormat, Tool, ToolChoice};

use serde_json::value::RawValue;

use super::fields;
use super::{ChatRequest, Effort};
use crate::error::Error;

/// A checked request, read as values.
#[derive(Debug)]
pub struct Conversation<'a> {
    /// In order; legacy `function` roles and calls are already tools.
    pub messages: Vec<Message<'a>>,
    /// In order.
    pub tools: Vec<Tool<'a>>,
    /// Which tool must, may or must not be called.
    pub tool_choice: ToolChoice<'a>,
    /// Several calls in one answer; `None`: not said.
    pub parallel_tool_calls: Option<bool>,
    /// What the answer must look like.
    pub response_format: ResponseFormat<'a>,
    /// Texts that end the answer.
    pub stop: Vec<Str<'a>>,
    request: &'a ChatRequest,
    text: &'a str,
    left_out: Vec<&'a str>,
}

impl<'a> Conversation<'a> {
    /// Reads a body that [`super::request::parse`] has checked.
    ///
    /// # Errors
    /// 400 with the path of what a value cannot be, where the check at the door did not look.
    pub fn read(request: &'a ChatRequest, body: &'a [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(body).map_err(|_| Error::Internal)?;
        let given = |name: &str| request.field(text, name);
        Ok(Self {
            messages: message::read(given("messages").unwrap_or("[]"))?,
            tools: tools::read(given("tools").unwrap_or("[]"))?,
            tool_choice: given("tool_choice").map_or(Ok(ToolChoice::Unset), ToolChoice::read)?,
            parallel_tool_calls: given("parallel_tool_calls").map(|word| word == "true"),
            response_format: given("response_format")
                .map_or(Ok(ResponseFormat::Text), ResponseFormat::read)?,
            stop: given("stop").map_or(Ok(Vec::new()), |stop| one_or_many("stop", stop))?,
            request,
            text,
            left_out: Vec::new(),
        })
    }

    /// Reads on as if a top-level field had not been given. The summary made at the door still knows it, but for what
    /// [`Self::effort`] says.
    pub fn leave_out(&mut self, name: &'a str) {
        match name {
            "tools" => self.tools.clear(),
            "tool_choice" => self.tool_choice = ToolChoice::Unset,
            "parallel_tool_calls" => self.parallel_tool_calls = None,
            "response_format" => self.response_format = ResponseFormat::Text,
            "stop" => self.stop.clear(),
            _ => {}
        }
        self.left_out.push(name);
    }

    /// How hard the model should think; `None`: not said.
    pub fn effort(&self) -> Option<Effort> {
        self.request.effort.filter(|_| !self.left_out.contains(&"reasoning_effort"))
    }

    /// The summary made at the door.
    pub fn request(&self) -> &'a ChatRequest {
        self.request
    }

    /// A top-level field as the client wrote it; `None` when it is null or not there.
    pub fn field(&self, name: &str) -> Option<&'a RawValue> {
        serde_json::from_str(self.written(name)?).ok()
    }

    fn written(&self, name: &str) -> Option<&'a str> {
        self.request.field(self.text, name).filter(|_| !self.left_out.contains(&name))
    }

    /// A top-level string field.
    pub fn string(&self, name: &str) -> Option<Str<'a>> {
        serde_json::from_str(self.written(name)?).ok()
    }

    /// A top-level number, exactly as written.
    pub fn number(&self, name: &str) -> Option<serde_json::Number> {
        serde_json::from_str(self.written(name)?).ok()
    }

    /// Names of all fields that were given and are not null, in order.
    pub fn given(&self) -> impl Iterator<Item = &'a str> {
        self.request.members.iter(self.text).filter(|(_, value)| *value != "null").map(|(name, _)| name)
    }

    /// True when the conversation holds tool calls or results.
    pub fn has_tool_turns(&self) -> bool {
        self.messages.iter().any(|message| message.role == Role::Tool || !message.tool_calls.is_empty())
    }

    /// The name of the tool that a call id belongs to, looked for before message `at`.
    pub fn tool_name(&self, call_id: &str, at: usize) -> Option<&str> {
        let earlier = self.messages.get(..at).unwrap_or_default();
        let calls = earlier.iter().rev().flat_map(|message| message.tool_calls.iter());
        calls.into_iter().find(|call| call.id == call_id).map(|call| call.name.as_ref())
    }

    /// Images given by https address: path in the request and address, each address once, in order.
    pub fn image_urls(&self) -> Vec<(String, &str)> {
        let mut found: Vec<(String, &str)> = Vec::new();
        for (at, message) in self.messages.iter().enumerate() {
            for (inner, part) in message.parts.iter().enumerate() {
                let Body::Image(image) = &part.body else { continue };
                if image.is_https() && !found.iter().any(|(_, url)| *url == image.url.as_ref()) {
                    found.push((format!("messages[{at}].content[{inner}].image_url"), &image.url));
                }
            }
        }
        found
    }
}

/// A string, or an array of them.
fn one_or_many<'a>(name: &str, written: &'a str) -> Result<Vec<Str<'a>>, Error> {
    if written.starts_with('[') {
        return fields::typed(name, written);
    }
    Ok(vec![fields::typed(name, written)?])
}

#[cfg(test)]
mod tests;
