//! What the stub reads of a request: only what some behaviour looks at.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::behaviour::Behaviour;
use super::fault::Fault;

/// Most choices of one request, as OpenAI has it.
const CHOICES_MAX: u32 = 128;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    logprobs: Option<bool>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
    response_format: Option<Value>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    tool_calls: Option<Vec<Tool>>,
}

/// A function, as a tool or as a call of one.
#[derive(Deserialize)]
struct Tool {
    function: Option<Function>,
}

/// A function that can be called.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// JSON schema of its arguments.
    #[serde(default)]
    pub parameters: Value,
}

/// `tool_choice`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the behaviour likes.
    #[default]
    Auto,
    /// No call.
    None,
    /// Some call.
    Required,
    /// This function.
    Named(String),
}

/// `response_format`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    Object,
    /// JSON of this schema.
    Schema(Value),
}

/// A request as the behaviours see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The model name, sent back as it came.
    pub model: String,
    /// Text of the last user message.
    pub text: String,
    /// Images in all messages.
    pub images: usize,
    /// Content of the last message, if it is a tool's result.
    pub tool_result: Option<String>,
    /// Functions that may be called.
    pub tools: Vec<Function>,
    /// Which may or must be.
    pub tool_choice: ToolChoice,
    /// Functions that were called in this conversation.
    pub called: Vec<String>,
    /// Turns of the model that called functions.
    pub rounds: u64,
    /// Shape of the text.
    pub format: Format,
    /// Answer with events?
    pub stream: bool,
    /// A usage event at the end of the stream?
    pub include_usage: bool,
    /// Choices asked for.
    pub n: u32,
    /// Log probabilities asked for.
    pub logprobs: bool,
    /// Tokens of the prompt: a quarter of the bytes of the messages' contents.
    pub prompt_tokens: u64,
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for what is no chat request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let body: Body<'_> = serde_json::from_slice(bytes)
            .map_err(|error| Fault::invalid(format!("The request cannot be read: {error}.")))?;
        let n = body.n.unwrap_or(1);
        if body.messages.is_empty() || !(1..=CHOICES_MAX).contains(&n) {
            let message = format!("`messages` must not be empty and `n` be from 1 to {CHOICES_MAX}.");
            return Err(Fault::invalid(message));
        }
        let mut request = Self {
            model: body.model.into_owned(),
            tools: functions(body.tools),
            tool_choice: tool_choice(body.tool_choice.as_ref())?,
            format: format(body.response_format),
            stream: body.stream.unwrap_or(false),
            include_usage: body.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            n,
            logprobs: body.logprobs.unwrap_or(false),
            ..Self::default()
        };
        let last_user = body.messages.iter().rposition(|message| message.role == "user");
        let last = body.messages.len() - 1;
        let mut bytes = 0;
        for (at, message) in body.messages.into_iter().enumerate() {
            let called = functions(message.tool_calls);
            request.rounds += u64::from(!called.is_empty());
            request.called.extend(called.into_iter().map(|function| function.name));
            let Some(raw) = message.content.map(RawValue::get) else { continue };
            bytes += raw.len() as u64;
            let tool_result = at == last && message.role == "tool";
            if Some(at) == last_user || tool_result || raw.starts_with('[') {
                let (text, images) = content(raw)?;
                request.images += images;
                if Some(at) == last_user {
                    request.text = text;
                } else if tool_result {
                    request.tool_result = Some(text);
                }
            }
        }
        request.prompt_tokens = bytes.div_ceil(4).max(1);
        Ok(request)
    }

    /// What this request wants done; the command at the start of the last user message is taken off its text.
    ///
    /// # Errors
    /// 404 or 400, as [`Behaviour::parse`].
    pub fn take_behaviour(&mut self) -> Result<Behaviour, Fault> {
        let Some(command) = self.text.strip_prefix('/') else { return Behaviour::parse(&self.model) };
        let (command, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let behaviour = Behaviour::parse(command)?;
        self.text = rest.trim_start().to_owned();
        Ok(behaviour)
    }
}

fn functions(tools: Option<Vec<Tool>>) -> Vec<Function> {
    tools.into_iter().flatten().filter_map(|tool| tool.function).collect()
}

fn tool_choice(given: Option<&Value>) -> Result<ToolChoice, Fault> {
    match given {
        None | Some(Value::Null) => Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            other => Err(Fault::invalid(format!("`tool_choice` cannot be `{other}`."))),
        },
        Some(object) => match object.pointer("/function/name").and_then(Value::as_str) {
            Some(name) => Ok(ToolChoice::Named(name.to_owned())),
            None => Err(Fault::invalid("`tool_choice` names no function.")),
        },
    }
}

fn format(given: Option<Value>) -> Format {
    let kind = |value: &Value| value.get("type").and_then(Value::as_str).map(str::to_owned);
    match given.as_ref().and_then(kind).as_deref() {
        Some("json_object") => Format::Object,
        Some("json_schema") => {
            let schema =
                given.and_then(|mut value| value.pointer_mut("/json_schema/schema").map(Value::take));
            Format::Schema(schema.unwrap_or_default())
        }
        _ => Format::Text,
    }
}

/// Text and number of images of a content.
fn content(raw: &str) -> Result<(String, usize), Fault> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        text: Option<Cow<'a, str>>,
    }
    let wrong = |error| Fault::invalid(format!("A content cannot be read: {error}."));
    if !raw.starts_with('[') {
        return serde_json::from_str::<Option<String>>(raw)
            .map(|text| (text.unwrap_or_default(), 0))
            .map_err(wrong);
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(raw).map_err(wrong)?;
    let images = parts.iter().filter(|part| part.kind == "image_url").count();
    Ok((parts.into_iter().filter_map(|part| part.text).collect(), images))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> Result<Request, Fault> {
        Request::parse(body.to_string().as_bytes())
    }

    #[test]
    fn the_last_user_message_and_all_images_are_read() {
        let request = parse(json!({"model": "echo", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "\u{e9}"}]},
            {"role": "tool", "content": "42"},
        ]}))
        .unwrap();
        assert_eq!((request.text.as_str(), request.images), ("b\u{e9}", 1));
        assert_eq!(
            (request.tool_result.as_deref(), request.called.as_slice()),
            (Some("42"), &["f".to_owned()][..])
        );
        assert!(!request.stream && !request.include_usage && request.n == 1 && request.prompt_tokens > 10);
    }

    #[test]
    fn a_slash_command_wins_over_the_model_and_leaves_the_text() {
        let mut request = parse(
            json!({"model": "echo", "messages": [{"role": "user", "content": "/slow:ms=1  hi there"}]}),
        )
        .unwrap();
        assert_eq!(request.take_behaviour(), Ok(Behaviour::Slow(std::time::Duration::from_millis(1))));
        assert_eq!(request.text, "hi there");
        let mut request =
            parse(json!({"model": "gpt-9", "messages": [{"role": "user", "content": "hi"}]})).unwrap();
        assert_eq!(request.take_behaviour().unwrap_err().status, 404);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let messages = json!([{"role": "user", "content": "hi"}]);
        for body in [
            json!({"messages": messages}),
            json!({"model": "echo", "messages": []}),
            json!({"model": "echo", "messages": messages, "n": 0}),
            json!({"model": "echo", "messages": messages, "n": 129}),
            json!({"model": "echo", "messages": messages, "tool_choice": "any"}),
            json!({"model": "echo", "messages": messages, "tool_choice": {}}),
            json!({"model": "echo", "messages": [{"role": "user", "content": 3}]}),
        ] {
            assert_eq!(parse(body.clone()).unwrap_err().status, 400, "{body}");
        }
    }
}
