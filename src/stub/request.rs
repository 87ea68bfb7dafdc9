//! What the stub reads of a chat request.

use serde::Deserialize;
use serde_json::Value;

/// A chat request, as far as the stub looks.
#[derive(Debug, Default, Deserialize)]
pub struct Request {
    /// The behaviour, unless the last user message names one.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Events instead of a whole answer.
    pub stream: Option<bool>,
    /// Whether usage is asked for in a stream.
    pub stream_options: Option<StreamOptions>,
    /// Tools that may be called.
    pub tools: Option<Vec<Tool>>,
    /// Which tool must be called, if any.
    pub tool_choice: Option<Value>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// Choices.
    pub n: Option<u32>,
    /// Whether log probabilities are asked for.
    pub logprobs: Option<bool>,
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether usage is asked for.
    pub include_usage: Option<bool>,
}

/// One message.
#[derive(Debug, Default, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: String,
    /// What it says.
    #[serde(default)]
    pub content: Value,
}

/// A function tool.
#[derive(Debug, Default, Deserialize)]
pub struct Tool {
    /// The function.
    #[serde(default)]
    pub function: Function,
}

/// The function of a tool.
#[derive(Debug, Default, Deserialize)]
pub struct Function {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// JSON schema of its arguments.
    #[serde(default)]
    pub parameters: Value,
}

/// `response_format`.
#[derive(Debug, Default, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The schema.
    pub json_schema: Option<Value>,
}

impl Message {
    /// Its text.
    pub fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
                texts.collect::<Vec<_>>().join(" ")
            }
            _ => String::new(),
        }
    }

    /// Images in it.
    pub fn images(&self) -> usize {
        let parts = self.content.as_array().map_or(&[][..], Vec::as_slice);
        parts.iter().filter(|part| part.get("type").is_some_and(|kind| kind == "image_url")).count()
    }
}

impl Request {
    /// The last message of a role.
    pub fn last(&self, role: &str) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.role == role)
    }

    /// The text that says how to answer: a last user message that starts with a slash, else the model's name.
    pub fn command(&self) -> String {
        let text = self.last("user").map(Message::text).unwrap_or_default();
        match text.trim().strip_prefix('/') {
            Some(command) => command.split_whitespace().next().unwrap_or("").to_owned(),
            None => self.model.clone(),
        }
    }

    /// The tool that must be called, if one must.
    pub fn forced_tool(&self) -> Option<&Tool> {
        let tools = self.tools.as_deref().unwrap_or_default();
        match &self.tool_choice {
            Some(Value::String(word)) if word == "required" || word == "any" => tools.first(),
            Some(choice @ Value::Object(_)) => {
                let name = choice.pointer("/function/name")?.as_str()?;
                tools.iter().find(|tool| tool.function.name == name)
            }
            _ => None,
        }
    }

    /// Whether a stream shall end with usage.
    pub fn include_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }
}
