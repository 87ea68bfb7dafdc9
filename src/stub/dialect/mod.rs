//! The formats that the stub speaks besides OpenAI's chat, each as strict as the API it stands for: what that would
//! refuse (pairs of calls and results, signatures, roles, budgets, schemas) is refused here, in its words.

mod anthropic;
mod cohere;
mod converse;
mod frame;
mod gemini;
mod responses;
mod rules;

use bytes::Bytes;

use super::answer::Answer;
use super::chunk::{Facts, Frame};
use super::fault::Fault;
use super::parts::Part;
use super::plain;
use super::request::Request;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Openai,
    /// Anthropic's messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// AWS Bedrock's Converse.
    Converse,
    /// OpenAI's Responses.
    Responses,
    /// Cohere's chat, version 2.
    Cohere,
}

/// What the address of a request says.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The format.
    pub dialect: Dialect,
    /// The model, where it is named in the path; percent-encoded.
    pub model: &'a str,
    /// A stream, where that is said in the path.
    pub stream: bool,
}

/// The events of one stream in a format, made in order. Empty: nothing to say.
pub trait Frames {
    /// Opens a choice.
    fn role(&mut self, choice: u32, answer: &Answer) -> Bytes;
    /// One part.
    fn part(&mut self, choice: u32, part: &Part, answer: &Answer) -> Bytes;
    /// Ends a choice.
    fn finish(&mut self, choice: u32, answer: &Answer) -> Bytes;
    /// Usage after the last choice, where the format has it apart.
    fn usage(&mut self, answer: &Answer) -> Option<Bytes>;
    /// The very end.
    fn done(&mut self) -> Bytes;
    /// An error instead of the rest.
    fn error(&mut self, fault: &Fault) -> Bytes;
}

impl<'a> Asked<'a> {
    /// Reads a path; `None` for one that nobody serves.
    pub fn of(path: &'a str) -> Option<Self> {
        let plain = |dialect| Some(Self { dialect, model: "", stream: false });
        match path {
            "/v1/chat/completions" => return plain(Dialect::Openai),
            "/v1/messages" => return plain(Dialect::Anthropic),
            "/v1/responses" => return plain(Dialect::Responses),
            "/v2/chat" => return plain(Dialect::Cohere),
            _ => {}
        }
        if let Some(call) = path.strip_prefix("/v1beta/models/") {
            let (model, method) = call.rsplit_once(':')?;
            let stream = method == "streamGenerateContent";
            return (stream || method == "generateContent").then_some(Self {
                dialect: Dialect::Gemini,
                model,
                stream,
            });
        }
        let (model, method) = path.strip_prefix("/model/")?.split_once('/')?;
        let stream = method == "converse-stream";
        (stream || method == "converse").then_some(Self { dialect: Dialect::Converse, model, stream })
    }

    /// OpenAI's chat.
    #[cfg(test)]
    pub fn chat() -> Self {
        Self { dialect: Dialect::Openai, model: "", stream: false }
    }

    /// The model of the path, decoded.
    fn path_model(&self) -> String {
        let mut out = Vec::with_capacity(self.model.len());
        let mut rest = self.model.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            let code = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
                Some(byte) => {
                    out.push(byte);
                    rest = more.get(2..).unwrap_or_default();
                }
                None => {
                    out.push(*first);
                    rest = more;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Dialect {
    /// Reads a request.
    ///
    /// # Errors
    /// What the API would refuse.
    pub fn parse(self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, Fault> {
        if self == Self::Openai {
            return Request::parse(body);
        }
        let value = serde_json::from_slice(body)
            .map_err(|error| Fault::invalid(format!("The request cannot be read: {error}.")))?;
        let mut request = match self {
            Self::Openai => Request::parse(body)?,
            Self::Anthropic => anthropic::parse(&value)?,
            Self::Gemini => gemini::parse(&value)?,
            Self::Converse => converse::parse(&value)?,
            Self::Responses => responses::parse(&value)?,
            Self::Cohere => cohere::parse(&value)?,
        };
        if !asked.model.is_empty() {
            request.model = asked.path_model();
            request.stream = asked.stream;
        }
        request.n = request.n.max(1);
        request.include_usage = true;
        request.prompt_tokens = (body.len() as u64).div_ceil(4).max(1);
        Ok(request)
    }

    /// The events of a stream.
    pub fn frames(self, request: &Request, answer: &Answer, facts: &Facts) -> Box<dyn Frames> {
        match self {
            Self::Openai => Box::new(Frame::new(facts, request.include_usage, request.logprobs)),
            Self::Anthropic => Box::new(anthropic::Stream::new(answer, facts)),
            Self::Gemini => Box::new(gemini::Stream::new(facts)),
            Self::Converse => Box::new(converse::Stream::default()),
            Self::Responses => Box::new(responses::Stream::new(facts)),
            Self::Cohere => Box::new(cohere::Stream::new(facts)),
        }
    }

    /// A whole answer.
    pub fn whole(self, request: &Request, answer: Answer, facts: &Facts) -> Vec<u8> {
        let value = match self {
            Self::Openai => return plain::body(request, answer, facts),
            Self::Anthropic => anthropic::whole(&answer, facts),
            Self::Gemini => gemini::whole(request, &answer, facts),
            Self::Converse => converse::whole(&answer),
            Self::Responses => responses::whole(&answer, facts),
            Self::Cohere => cohere::whole(&answer, facts),
        };
        value.to_string().into_bytes()
    }

    /// An error.
    pub fn fault(self, fault: &Fault) -> Vec<u8> {
        let value = match self {
            Self::Openai | Self::Responses => return fault.body(),
            Self::Anthropic => anthropic::fault(fault),
            Self::Gemini => gemini::fault(fault),
            Self::Converse | Self::Cohere => serde_json::json!({"message": fault.message}),
        };
        value.to_string().into_bytes()
    }

    /// Equal parts make equal events: nothing in them is counted.
    pub fn repeats_itself(self) -> bool {
        self != Self::Responses
    }

    /// Content type of streams.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Converse => "application/vnd.amazon.eventstream",
            _ => "text/event-stream; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests;
