//! What the stub answers: pure, from a request and a behaviour.

use serde_json::Value;

use super::behaviour::Behaviour;
use super::request::{Message, Request, Tool};
use super::schema;

/// A picture of one pixel.
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/// Bytes that make a token here.
const BYTES_PER_TOKEN: usize = 4;

/// One answer, before it is written out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Pieces of the text, as a stream sends them.
    pub pieces: Vec<String>,
    /// Reasoning in a field of its own.
    pub reasoning: Option<&'static str>,
    /// Tool calls: name and arguments.
    pub calls: Vec<(String, String)>,
    /// An image.
    pub image: Option<&'static str>,
    /// OpenAI's word for the end.
    pub finish: &'static str,
    /// Prompt tokens.
    pub prompt_tokens: usize,
    /// Completion tokens, of all choices.
    pub completion_tokens: usize,
    /// Those of them that are reasoning.
    pub reasoning_tokens: usize,
}

impl Answer {
    /// The answer to a request.
    pub fn to(request: &Request, behaviour: &Behaviour) -> Self {
        let mut answer = Self { finish: "stop", ..Self::default() };
        answer.fill(request, behaviour);
        let choices = request.n.unwrap_or(1).clamp(1, 128) as usize;
        let prompt: usize = request.messages.iter().map(|message| message.text().len()).sum();
        answer.prompt_tokens = prompt.div_ceil(BYTES_PER_TOKEN).max(1);
        let calls: usize =
            answer.calls.iter().map(|(_, arguments)| arguments.len().div_ceil(BYTES_PER_TOKEN)).sum();
        answer.reasoning_tokens *= choices;
        answer.completion_tokens = (answer.pieces.len() + calls).max(1) * choices + answer.reasoning_tokens;
        answer
    }

    fn fill(&mut self, request: &Request, behaviour: &Behaviour) {
        match behaviour {
            Behaviour::Drip { events, bytes, .. } => self.pieces = vec![word(*bytes); *events],
            Behaviour::Big(bytes) => self.pieces = vec!["x".repeat(*bytes)],
            Behaviour::Truncate(after) | Behaviour::ErrorEvent(after) => {
                self.pieces = vec!["piece ".to_owned(); after + 1];
            }
            Behaviour::Tools(count) => self.call_tools(request, *count),
            Behaviour::Reasoning => {
                self.reasoning = Some("The question is short, so the answer can be, too.");
                self.reasoning_tokens = 12;
                self.pieces = words(&echo(request));
            }
            Behaviour::Think => {
                self.pieces = words(&format!("<think>Let me see.</think>\n\n{}", echo(request)));
            }
            Behaviour::Image => {
                self.image = Some(PIXEL);
                self.pieces = words("Here is a picture.");
            }
            _ => self.echo(request),
        }
        match behaviour {
            Behaviour::Length => self.finish = "length",
            Behaviour::Filter => self.finish = "content_filter",
            _ if !self.calls.is_empty() => self.finish = "tool_calls",
            _ => {}
        }
    }

    /// Text, or whatever the request insists on.
    fn echo(&mut self, request: &Request) {
        if let Some(tool) = request.forced_tool() {
            return self.call(tool);
        }
        let format = request.response_format.as_ref();
        self.pieces = match format.map(|format| format.kind.as_str()) {
            Some("json_schema") => {
                let schema = format.and_then(|format| format.json_schema.as_ref()?.get("schema"));
                vec![schema::example(schema.unwrap_or(&Value::Null)).to_string()]
            }
            Some("json_object") => vec!["{\"answer\":\"example\"}".to_owned()],
            _ => words(&echo(request)),
        };
    }

    /// Calls tools, or tells what came of it.
    fn call_tools(&mut self, request: &Request, count: usize) {
        if let Some(result) = request.messages.last().filter(|message| message.role == "tool") {
            self.pieces = words(&format!("The tool said: {}", result.text()));
            return;
        }
        if let Some(tool) = request.forced_tool() {
            return self.call(tool);
        }
        let tools = request.tools.as_deref().unwrap_or_default();
        for tool in tools.iter().cycle().take(if tools.is_empty() { 0 } else { count }) {
            self.call(tool);
        }
        if tools.is_empty() {
            self.pieces = words("I was given no tools.");
        }
    }

    fn call(&mut self, tool: &Tool) {
        let arguments = match schema::example(&tool.function.parameters) {
            Value::Null => "{}".to_owned(),
            example => example.to_string(),
        };
        self.calls.push((tool.function.name.clone(), arguments));
        self.finish = "tool_calls";
    }
}

/// The last user message's text, and how many images came with it.
fn echo(request: &Request) -> String {
    if let Some(result) = request.messages.last().filter(|message| message.role == "tool") {
        return format!("The tool said: {}", result.text());
    }
    let last = request.last("user");
    let text = last.map(Message::text).unwrap_or_default();
    match last.map_or(0, Message::images) {
        0 if text.is_empty() => "You said nothing.".to_owned(),
        0 => text,
        images => format!("{text} [{images} images]"),
    }
}

/// Words with the blank that follows each.
fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// A word of this many bytes.
fn word(bytes: usize) -> String {
    let mut word = "x".repeat(bytes.saturating_sub(1));
    word.push(' ');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &str, behaviour: &Behaviour) -> Answer {
        Answer::to(&serde_json::from_str(request).unwrap(), behaviour)
    }

    #[test]
    fn a_request_gets_what_it_insists_on() {
        let said =
            |more: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a b"}}]{more}}}"#);
        let plain = answer(&said(""), &Behaviour::Echo);
        assert_eq!(
            (plain.pieces.concat().as_str(), plain.completion_tokens, plain.finish),
            ("a b", 2, "stop")
        );
        let tools = r#","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"string"}}}}}]"#;
        assert_eq!(answer(&said(tools), &Behaviour::Echo).calls, []);
        let forced = format!(r#"{tools},"tool_choice":"required""#);
        let call = ("f".to_owned(), r#"{"x":"example"}"#.to_owned());
        assert_eq!(answer(&said(&forced), &Behaviour::Echo).calls, std::slice::from_ref(&call));
        assert_eq!(answer(&said(tools), &Behaviour::Tools(2)).calls, [call.clone(), call]);
        let schema = r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"x":{"type":"boolean"}}}}}"#;
        assert_eq!(answer(&said(schema), &Behaviour::Echo).pieces, [r#"{"x":true}"#]);
    }
}
