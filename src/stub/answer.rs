//! What the stub answers: pure, from request and behaviour.

use serde::Serialize;
use serde_json::json;

use super::behaviour::Behaviour;
use super::parts::pieces;
use super::request::{Format, Function, Request, ToolChoice};
use super::schema::example;

/// The smallest picture there is: one pixel.
pub const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The text of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// As it is.
    Text(String),
    /// Counted events.
    Drip {
        /// How many.
        events: u64,
        /// Bytes of each; else its number.
        bytes: Option<u64>,
    },
}

impl Words {
    /// Tokens: pieces or events.
    pub fn count(&self) -> u64 {
        match self {
            Self::Text(text) => pieces(text).count() as u64,
            Self::Drip { events, .. } => *events,
        }
    }

    /// The text of one event of a drip.
    pub fn drop(&self, at: u64) -> String {
        match self {
            Self::Drip { bytes: Some(bytes), .. } => {
                let length = usize::try_from(*bytes).unwrap_or(1);
                let mut text = "x".repeat(length - 1);
                text.push(' ');
                text
            }
            _ => format!("{} ", at + 1),
        }
    }

    /// The whole.
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Drip { events, .. } => (0..events).map(|at| self.drop(at)).collect(),
        }
    }
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The function.
    pub name: String,
    /// JSON.
    pub arguments: String,
}

/// `usage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    audio_tokens: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

/// One answer; every choice is the same.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text.
    pub words: Words,
    /// Reasoning, in its own field.
    pub reasoning: String,
    /// Tool calls.
    pub calls: Vec<Call>,
    /// With a picture.
    pub image: bool,
    /// `finish_reason`.
    pub finish: &'static str,
    /// `None`: not reported.
    pub usage: Option<Usage>,
}

impl Usage {
    /// Tokens of the reasoning, counted in `completion_tokens`.
    pub fn reasoning_tokens(&self) -> u64 {
        self.completion_tokens_details.reasoning_tokens
    }
}

impl Answer {
    /// Answers.
    pub fn of(request: &Request, behaviour: Behaviour) -> Self {
        let mut answer = Self {
            words: Words::Text(String::new()),
            reasoning: String::new(),
            calls: calls(request, behaviour),
            image: behaviour == Behaviour::Image,
            finish: "stop",
            usage: None,
        };
        if answer.calls.is_empty() {
            answer.words = words(request, behaviour);
        } else {
            answer.finish = "tool_calls";
        }
        match behaviour {
            Behaviour::Reasoning | Behaviour::Agent(_) => answer.reasoning = thought(request),
            Behaviour::Length => answer.finish = "length",
            Behaviour::Filter => answer.finish = "content_filter",
            _ => {}
        }
        if behaviour != Behaviour::NoUsage {
            answer.usage = Some(answer.count(request));
        }
        answer
    }

    fn count(&self, request: &Request) -> Usage {
        let n = u64::from(request.n);
        let reasoning_tokens = pieces(&self.reasoning).count() as u64 * n;
        let arguments: u64 = self.calls.iter().map(|call| pieces(&call.arguments).count() as u64).sum();
        let completion_tokens = reasoning_tokens + (self.words.count() + arguments) * n;
        Usage {
            prompt_tokens: request.prompt_tokens,
            completion_tokens,
            total_tokens: request.prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails::default(),
            completion_tokens_details: CompletionDetails { reasoning_tokens, ..CompletionDetails::default() },
        }
    }
}

fn thought(request: &Request) -> String {
    format!("The user said {:?}, so I say it back.", request.text)
}

fn words(request: &Request, behaviour: Behaviour) -> Words {
    let spoken = spoken(request);
    Words::Text(match behaviour {
        Behaviour::Drip { events, bytes, .. } => return Words::Drip { events, bytes },
        Behaviour::Think => format!("<think>{}</think>\n\n{spoken}", thought(request)),
        Behaviour::Big(bytes) => {
            let line = "0123456789abcdef";
            let bytes = usize::try_from(bytes).unwrap_or(0);
            let mut text = line.repeat(bytes.div_ceil(line.len()));
            text.truncate(bytes);
            text
        }
        _ => spoken,
    })
}

/// What echo says.
fn spoken(request: &Request) -> String {
    match &request.format {
        Format::Schema(schema) => return example(schema).to_string(),
        Format::Object => return json!({ "echo": request.text }).to_string(),
        Format::Text => {}
    }
    let mut text = match &request.tool_result {
        Some(result) => format!("The tool says: {result}"),
        None => request.text.clone(),
    };
    if request.images > 0 {
        let noun = if request.images == 1 { "image" } else { "images" };
        text.push_str(&format!(" [{} {noun}]", request.images));
    }
    text
}

/// The calls that are due.
fn calls(request: &Request, behaviour: Behaviour) -> Vec<Call> {
    let uncalled = || request.tools.iter().find(|tool| !request.called.contains(&tool.name));
    let functions: Vec<&Function> = match (&request.tool_choice, behaviour) {
        (ToolChoice::None, _) => Vec::new(),
        (ToolChoice::Named(name), _) => request.tools.iter().filter(|tool| tool.name == *name).collect(),
        // Agents that must call until a last tool ends their run get there: each is called once, then the last.
        (ToolChoice::Required, _) => uncalled().or_else(|| request.tools.last()).into_iter().collect(),
        (ToolChoice::Auto, Behaviour::Agent(rounds)) if request.rounds < rounds => {
            request.tools.iter().cycle().take(2).collect()
        }
        (ToolChoice::Auto, _) if request.tool_result.is_some() => Vec::new(),
        (ToolChoice::Auto, Behaviour::Tool) => request.tools.first().into_iter().collect(),
        (ToolChoice::Auto, Behaviour::Tools) => request.tools.iter().cycle().take(2).collect(),
        (ToolChoice::Auto, _) => Vec::new(),
    };
    let earlier = request.called.len();
    let call = |(at, function): (usize, &Function)| Call {
        id: format!("call_stub{:0>20}", earlier + at + 1),
        name: function.name.clone(),
        arguments: match example(&function.parameters) {
            serde_json::Value::Object(object) => serde_json::Value::Object(object).to_string(),
            _ => "{}".to_owned(),
        },
    };
    functions.into_iter().enumerate().map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let tool = |name: &str| Function {
            name: name.to_owned(),
            parameters: json!({"type": "object", "properties": {"city": {"type": "string"}}}),
        };
        let tools = vec![tool("a"), tool("b")];
        Request { text: "hi there".into(), n: 1, prompt_tokens: 3, tools, ..Request::default() }
    }

    fn called(request: &Request, behaviour: Behaviour) -> Vec<String> {
        Answer::of(request, behaviour).calls.into_iter().map(|call| call.name).collect()
    }

    #[test]
    fn echo_says_what_was_said_in_the_shape_asked_for() {
        let said = |request: &Request| Answer::of(request, Behaviour::Echo).words.into_text();
        assert_eq!(said(&request()), "hi there");
        assert_eq!(said(&Request { images: 2, ..request() }), "hi there [2 images]");
        assert_eq!(said(&Request { format: Format::Object, ..request() }), r#"{"echo":"hi there"}"#);
        let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}});
        assert_eq!(said(&Request { format: Format::Schema(schema), ..request() }), r#"{"age":1}"#);
        assert_eq!(said(&Request { tool_result: Some("42".into()), ..request() }), "The tool says: 42");
    }

    #[test]
    fn tools_are_called_when_asked_for() {
        let choose = |tool_choice| Request { tool_choice, ..request() };
        let named = choose(ToolChoice::Named("b".into()));
        assert_eq!(called(&request(), Behaviour::Echo), [""; 0]);
        assert_eq!(called(&request(), Behaviour::Tool), ["a"]);
        assert_eq!(called(&request(), Behaviour::Tools), ["a", "b"]);
        assert_eq!(called(&named, Behaviour::Echo), ["b"]);
        assert_eq!(called(&choose(ToolChoice::None), Behaviour::Tool), [""; 0]);
        assert_eq!(called(&Request { tools: vec![], ..request() }, Behaviour::Tools), [""; 0]);
        let mut required = choose(ToolChoice::Required);
        assert_eq!(called(&required, Behaviour::Echo), ["a"]);
        required.called = vec!["a".into()];
        assert_eq!(called(&required, Behaviour::Echo), ["b"]);
        required.called.push("b".into());
        assert_eq!(called(&required, Behaviour::Echo), ["b"]);
        let answered = Request { tool_result: Some("42".into()), ..request() };
        assert_eq!(called(&answered, Behaviour::Tool), [""; 0]);
        let answer = Answer::of(&request(), Behaviour::Tool);
        assert_eq!((answer.calls[0].arguments.as_str(), answer.finish), (r#"{"city":"text"}"#, "tool_calls"));
    }

    #[test]
    fn usage_counts_words_events_and_reasoning_for_every_choice() {
        let usage = |n, behaviour| Answer::of(&Request { n, ..request() }, behaviour).usage.unwrap();
        assert_eq!(usage(1, Behaviour::Echo).total_tokens, 5);
        assert_eq!(usage(3, Behaviour::Echo).completion_tokens, 6);
        let drip = Behaviour::Drip { events: 7, pace: std::time::Duration::ZERO, bytes: None };
        assert_eq!(usage(1, drip).completion_tokens, 7);
        let reasoned = usage(2, Behaviour::Reasoning);
        let reasoning = reasoned.completion_tokens_details.reasoning_tokens;
        assert!(reasoning > 0 && reasoned.completion_tokens == reasoning + 4);
        assert_eq!(Answer::of(&request(), Behaviour::NoUsage).usage, None);
    }
}
