//! The wire formats as a table: what each one is made of, and the one way to use any of them.

use serde::{Deserialize, Serialize};

use super::encode::{self, Encoded, FieldTable, Handling, Job, Notes, Order, Written};
use super::translate::{self, Answer, Events, Framing, Minted};
use super::usage::{Metered, UsageObject};
use super::{DecodeError, Envelope, Fault, Fed, Quirks};
use super::{anthropic, bedrock_converse, cohere, gemini, openai, responses};
use crate::chat::Usage;
use crate::error::Error;
use crate::money::Usd;

/// The wire format a provider speaks. A provider is a row of data; a format is code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireFormat {
    /// POST {base}/chat/completions as OpenAI defined it.
    #[default]
    Openai,
    /// POST {base}/v1/messages as Anthropic defined it.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// AWS Bedrock's Converse.
    BedrockConverse,
    /// POST {base}/responses as OpenAI defined it.
    Responses,
    /// POST {base}/v2/chat as Cohere defined it.
    Cohere,
}

/// What a format other than OpenAI's chat is made of.
pub struct Codec {
    /// What becomes of each field of a request.
    pub fields: FieldTable,
    /// Writes a request.
    pub write: fn(&Job<'_>, &mut Notes) -> Result<Written, Error>,
    /// Starts reading a stream.
    pub events: fn() -> Box<dyn Events>,
    /// Reads a whole reply.
    pub reply: fn(&[u8], &mut Answer) -> Result<(), DecodeError>,
    /// Reads an error answer; never fails.
    pub error: fn(u16, &[u8]) -> Fault,
    /// Path after `base_url`: `{model}` stands for the model's name upstream.
    pub path: &'static str,
    /// The same for streams.
    pub stream_path: &'static str,
    /// Content type of streams, for `Accept`.
    pub stream_type: &'static str,
    /// Headers that every request has, whatever it asks.
    pub headers: &'static [(&'static str, &'static str)],
    /// Images must travel inline: what is given by address has to be fetched.
    pub inline_images: bool,
    /// How the addresses begin that the vendor reads itself all the same.
    pub readable: &'static [&'static str],
    /// Scheme of the reasoning it mints, see [`crate::chat::conversation::Detail::format`].
    pub details: &'static str,
}

/// What becomes of each field in OpenAI's own format: bytes pass, rows may drop more.
const OPENAI_PATH: &str = "/chat/completions";
const EVENT_STREAM: &str = "text/event-stream";

impl WireFormat {
    /// Every format.
    pub const ALL: [Self; 6] =
        [Self::Openai, Self::Anthropic, Self::Gemini, Self::BedrockConverse, Self::Responses, Self::Cohere];

    /// The word used in configuration and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::BedrockConverse => "bedrock-converse",
            Self::Responses => "responses",
            Self::Cohere => "cohere",
        }
    }

    /// The header in which its vendor takes a key alone; `None`: a bearer token.
    pub const fn key_header(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("x-api-key"),
            Self::Gemini => Some("x-goog-api-key"),
            Self::Openai | Self::BedrockConverse | Self::Responses | Self::Cohere => None,
        }
    }

    /// What it is made of; `None` for OpenAI's chat, which is passed on and not translated.
    pub fn codec(self) -> Option<&'static Codec> {
        match self {
            Self::Openai => None,
            Self::Anthropic => Some(&anthropic::CODEC),
            Self::Gemini => Some(&gemini::CODEC),
            Self::BedrockConverse => Some(&bedrock_converse::CODEC),
            Self::Responses => Some(&responses::CODEC),
            Self::Cohere => Some(&cohere::CODEC),
        }
    }

    /// Encodes a request.
    ///
    /// # Errors
    /// 400 when the target cannot take a parameter that cannot be dropped, or that the order says not to drop.
    pub fn encode(self, order: &Order<'_>) -> Result<Encoded, Error> {
        match self.codec() {
            None => openai::encode_request(order),
            Some(codec) => encode::encode(order, codec.fields, codec.write),
        }
    }

    /// Reads an error answer; never fails.
    pub fn decode_error(self, status: u16, body: &[u8]) -> Fault {
        match self.codec() {
            None => openai::decode_error(status, body),
            Some(codec) => (codec.error)(status, body),
        }
    }

    /// Path after `base_url`, `{model}` standing for the model's name.
    pub fn path(self, stream: bool) -> &'static str {
        match self.codec() {
            None => OPENAI_PATH,
            Some(codec) if stream => codec.stream_path,
            Some(codec) => codec.path,
        }
    }

    /// What to accept of an answer.
    pub fn accepts(self, stream: bool) -> &'static str {
        match self.codec() {
            _ if !stream => "application/json",
            None => EVENT_STREAM,
            Some(codec) => codec.stream_type,
        }
    }

    /// Headers that every request has, whatever it asks.
    pub fn fixed_headers(self) -> &'static [(&'static str, &'static str)] {
        self.codec().map_or(&[], |codec| codec.headers)
    }

    /// Is an answer of this content type (in lower case) worth reading as a stream? An error or a page is not.
    pub fn streams_as(self, content_type: &str) -> bool {
        let lines = self.codec().is_some() && translate::Framing::is_lines(content_type);
        let other = content_type.contains("json") || content_type.contains("html");
        lines || !other || content_type.contains("event-stream")
    }

    /// What becomes of a field; `None` when the format has no table row for it.
    pub fn handling(self, field: &str) -> Option<Handling> {
        match self.codec() {
            None => Some(Handling::Passed),
            Some(codec) => {
                codec.fields.iter().find(|(name, _)| *name == field).map(|(_, handling)| *handling)
            }
        }
    }

    /// Images must travel inline.
    pub fn inlines_images(self) -> bool {
        self.codec().is_some_and(|codec| codec.inline_images)
    }

    /// The vendor reads this address itself.
    pub fn reads(self, url: &str) -> bool {
        self.codec().is_none_or(|codec| {
            !codec.inline_images || codec.readable.iter().any(|start| url.starts_with(start))
        })
    }
}

/// How an answer is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The vendor's dialect.
    pub quirks: &'a Quirks,
    /// The model thinks between tags.
    pub think_tags: bool,
    /// The client asked for usage in its stream.
    pub include_usage: bool,
    /// Choices the client asked for.
    pub n: u32,
}

/// Decoder of one stream.
#[derive(Debug)]
pub enum Decoder {
    /// OpenAI's own: forwarded and tapped.
    Forwarded(Box<openai::Decoder>),
    /// Any other: translated.
    Translated(Box<translate::Decoder>),
}

impl Decoder {
    /// For one stream in this format.
    pub fn new(format: WireFormat, reading: Reading<'_>, content_type: &str, envelope: &Envelope) -> Self {
        let Reading { quirks, think_tags, include_usage, n } = reading;
        match format.codec() {
            None => {
                Self::Forwarded(Box::new(openai::Decoder::new(quirks.clone(), think_tags, include_usage, n)))
            }
            Some(codec) => {
                let scheme = quirks.reasoning_scheme.as_deref();
                let answer = Answer::streamed(envelope, include_usage, n).minting(scheme);
                let framing = Framing::of(content_type);
                Self::Translated(Box::new(translate::Decoder::new(framing, (codec.events)(), answer)))
            }
        }
    }

    /// Takes bytes as they come and appends the client's events to `out`.
    ///
    /// # Errors
    /// See [`DecodeError`]; what is in `out` then is still good.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        envelope: &Envelope,
        latency_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Fed, DecodeError> {
        match self {
            Self::Forwarded(decoder) => decoder.feed(bytes, envelope, latency_ms, out),
            Self::Translated(decoder) => decoder.feed(bytes, envelope, latency_ms, out),
        }
    }

    /// The upstream closed.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when the stream is not complete.
    pub fn end_of_input(
        &mut self,
        envelope: &Envelope,
        latency_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Fed, DecodeError> {
        match self {
            Self::Forwarded(decoder) => decoder.end_of_input(envelope, latency_ms, out),
            Self::Translated(decoder) => decoder.end_of_input(envelope, latency_ms, out),
        }
    }

    /// Ends the stream here, as one whose answer was cut short. What goes last is still to be written.
    pub fn cut(&mut self, envelope: &Envelope, latency_ms: u64, out: &mut Vec<u8>) {
        match self {
            Self::Forwarded(decoder) => decoder.cut(envelope, latency_ms, out),
            Self::Translated(decoder) => decoder.cut(envelope, latency_ms, out),
        }
    }

    /// Writes what goes last.
    pub fn finish(
        &mut self,
        envelope: &Envelope,
        latency_ms: u64,
        usage: UsageObject,
        cost: Option<Usd>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Forwarded(decoder) => decoder.finish(envelope, latency_ms, usage, cost, out),
            Self::Translated(decoder) => decoder.finish(envelope, latency_ms, usage, cost, out),
        }
    }

    /// Text delivered so far (cut at a bound) and its length in all.
    pub fn delivered(&self) -> (&str, usize) {
        match self {
            Self::Forwarded(decoder) => decoder.delivered(),
            Self::Translated(decoder) => {
                let delivered = decoder.answer().delivered();
                (delivered.text(), delivered.length())
            }
        }
    }

    /// True once there was something of the answer itself.
    pub fn has_content(&self) -> bool {
        match self {
            Self::Forwarded(decoder) => decoder.has_content(),
            Self::Translated(decoder) => decoder.answer().has_content(),
        }
    }

    /// What the upstream reported last, once.
    pub fn take_metered(&mut self) -> Option<Metered> {
        match self {
            Self::Forwarded(decoder) => decoder.metered.take(),
            Self::Translated(decoder) => decoder.take_metered(),
        }
    }

    /// Usage that the upstream reported so far.
    pub fn reported(&self) -> Option<Usage> {
        match self {
            Self::Forwarded(decoder) => decoder.metered.as_ref().map(|metered| metered.usage),
            Self::Translated(decoder) => decoder.reported(),
        }
    }

    /// Usage that the upstream told before the answer was made.
    pub fn told(&self) -> Option<Usage> {
        match self {
            Self::Forwarded(_) => None,
            Self::Translated(decoder) => decoder.answer().told().copied(),
        }
    }

    /// The service tier that was served.
    pub fn service_tier(&self) -> Option<&str> {
        match self {
            Self::Forwarded(decoder) => decoder.service_tier.as_deref(),
            Self::Translated(decoder) => decoder.answer().service_tier(),
        }
    }

    /// Reasoning that the next turn must bring back, once the stream is over.
    pub fn minted(&self) -> Option<Minted> {
        match self {
            Self::Forwarded(_) => None,
            Self::Translated(decoder) => decoder.answer().minted(),
        }
    }
}

/// A decoded reply, ready to be rendered once its usage and cost are settled.
#[derive(Debug)]
pub enum Reply {
    /// OpenAI's own: forwarded and tapped.
    Forwarded(Box<openai::Reply>),
    /// Any other: translated.
    Translated(Box<Answer>),
}

impl Reply {
    /// Reads a reply in this format.
    ///
    /// # Errors
    /// What is not an answer: an error in a 200, HTML, nothing at all.
    pub fn decode(
        format: WireFormat,
        body: &[u8],
        reading: Reading<'_>,
        envelope: &Envelope,
    ) -> Result<Self, DecodeError> {
        let Some(codec) = format.codec() else {
            // Ids for tool calls that come without one begin with what is unique per attempt.
            return openai::Reply::decode(body, reading.quirks, reading.think_tags, &envelope.fallback_id)
                .map(|reply| Self::Forwarded(Box::new(reply)));
        };
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(DecodeError::invalid("it answered with an empty body"));
        }
        let mut answer = Answer::gathered(envelope).minting(reading.quirks.reasoning_scheme.as_deref());
        (codec.reply)(body, &mut answer)?;
        Ok(Self::Translated(Box::new(answer.checked()?)))
    }

    /// What the upstream reported, once; `None`: to be estimated.
    pub fn take_metered(&mut self) -> Option<Metered> {
        match self {
            Self::Forwarded(reply) => reply.metered.take(),
            Self::Translated(answer) => answer.usage().copied().map(Metered::of),
        }
    }

    /// The service tier that was served.
    pub fn service_tier(&self) -> Option<&str> {
        match self {
            Self::Forwarded(reply) => reply.service_tier.as_deref(),
            Self::Translated(answer) => answer.service_tier(),
        }
    }

    /// The texts of the answer, for counting tokens where the upstream did not.
    pub fn delivered(&self) -> String {
        match self {
            Self::Forwarded(reply) => reply.delivered(),
            Self::Translated(answer) => answer.delivered().text().to_owned(),
        }
    }

    /// Reasoning that the next turn must bring back.
    pub fn minted(&self) -> Option<Minted> {
        match self {
            Self::Forwarded(_) => None,
            Self::Translated(answer) => answer.minted(),
        }
    }

    /// The body for the client.
    pub fn render(
        &self,
        envelope: &Envelope,
        latency_ms: u64,
        usage: UsageObject,
        cost: Option<Usd>,
    ) -> Vec<u8> {
        match self {
            Self::Forwarded(reply) => reply.render(envelope, latency_ms, usage, cost),
            Self::Translated(answer) => answer.render(envelope, latency_ms, usage, cost),
        }
    }
}

#[cfg(test)]
mod tests;
