//! Decoding a stream, and the blocks that whole replies are made of as well.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::usage::Tally;
use super::{CODEC, SCHEMA_TOOL, fault_of};
use crate::chat::conversation::Detail;
use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Ending, Events, Flow, Frame, unreadable};

/// Blocks of one answer at most.
const BLOCKS_MAX: usize = 10_000;
/// Citations of one block at most.
const CITATIONS_MAX: usize = 1_000;
/// Reasoning of one block at most, bytes.
const THINKING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Starts reading a stream.
pub fn start() -> Box<dyn Events> {
    Box::new(Stream::default())
}

#[derive(Debug, Default)]
struct Stream {
    blocks: Blocks,
    tally: Tally,
    stop: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    index: Option<u64>,
    message: Option<Value>,
    content_block: Option<Value>,
    delta: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
}

impl Events for Stream {
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        let event: Event<'_> = serde_json::from_slice(frame.data).map_err(|_| unreadable())?;
        let Event { kind, index, message, content_block, delta, usage, error } = event;
        let index = index.unwrap_or(0);
        match kind.as_ref() {
            "message_start" => {
                let message = message.unwrap_or_default();
                answer.id(message.get("id").and_then(Value::as_str).unwrap_or_default());
                self.used(message.get("usage"), answer);
            }
            "content_block_start" => {
                self.blocks.start(index, &content_block.unwrap_or_default(), answer)?;
            }
            "content_block_delta" => self.blocks.delta(index, &delta.unwrap_or_default(), answer)?,
            "content_block_stop" => self.blocks.stop(index, answer)?,
            "message_delta" => {
                self.used(usage.as_ref(), answer);
                let reason =
                    delta.as_ref().and_then(|delta| delta.get("stop_reason")).and_then(Value::as_str);
                if let Some(reason) = reason {
                    self.stop = Some(reason.to_owned());
                }
            }
            "message_stop" => {
                if let Some(reason) = &self.stop {
                    answer.finish(0, self.blocks.ending(reason));
                }
                return Ok(Flow::End);
            }
            "error" => {
                return Err(DecodeError::Fault(fault_of(0, &json!({ "error": error }))));
            }
            // Pings, and what later versions add.
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

impl Stream {
    fn used(&mut self, usage: Option<&Value>, answer: &mut Answer) {
        let Some(usage) = usage else { return };
        self.tally.add(usage);
        if let Some(usage) = self.tally.usage() {
            answer.report_usage(usage);
        }
        if let Some(tier) = usage.get("service_tier").and_then(Value::as_str) {
            answer.tier(tier);
        }
    }
}

/// Blocks under way, by their index.
#[derive(Debug, Default)]
pub struct Blocks {
    open: BTreeMap<u64, Block>,
    seen: usize,
    /// The tool that stands in for a schema was called: its arguments are the answer.
    stood_in: bool,
}

#[derive(Debug)]
enum Block {
    Text {
        from: u64,
        citations: Vec<Value>,
    },
    Thinking {
        text: String,
        signature: String,
    },
    Redacted {
        data: String,
    },
    Tool {
        call: usize,
    },
    StandIn,
    /// Tools that the vendor runs itself, and what later versions add.
    Other,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Blocks {
    /// A block begins, in a whole reply with all of its content.
    pub fn start(&mut self, index: u64, block: &Value, answer: &mut Answer) -> Result<(), DecodeError> {
        self.seen += 1;
        if self.seen > BLOCKS_MAX {
            return Err(DecodeError::invalid("it sent more blocks than an answer can have"));
        }
        let opened = match text(block, "type") {
            "text" => {
                let from = answer.text_chars(0);
                answer.text(0, text(block, "text"));
                let given = block.get("citations").and_then(Value::as_array).cloned().unwrap_or_default();
                Block::Text { from, citations: given.into_iter().take(CITATIONS_MAX).collect() }
            }
            "thinking" => {
                answer.reasoning(0, text(block, "thinking"));
                Block::Thinking {
                    text: text(block, "thinking").to_owned(),
                    signature: text(block, "signature").to_owned(),
                }
            }
            "redacted_thinking" => Block::Redacted { data: text(block, "data").to_owned() },
            "tool_use" => self.tool(block, answer),
            _ => Block::Other,
        };
        self.open.insert(index, opened);
        Ok(())
    }

    fn tool(&mut self, block: &Value, answer: &mut Answer) -> Block {
        let input =
            block.get("input").filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
        let input = input.map(Value::to_string).unwrap_or_default();
        if text(block, "name") == SCHEMA_TOOL {
            self.stood_in = true;
            answer.text(0, &input);
            return Block::StandIn;
        }
        let call = answer.open_call(0, text(block, "id"), text(block, "name"));
        answer.call_arguments(0, call, &input);
        Block::Tool { call }
    }

    /// A piece of a block.
    fn delta(&mut self, index: u64, delta: &Value, answer: &mut Answer) -> Result<(), DecodeError> {
        match (text(delta, "type"), self.open.get_mut(&index)) {
            ("text_delta", _) => answer.text(0, text(delta, "text")),
            ("input_json_delta", Some(Block::Tool { call })) => {
                answer.call_arguments(0, *call, text(delta, "partial_json"));
            }
            ("input_json_delta", Some(Block::StandIn)) => answer.text(0, text(delta, "partial_json")),
            ("thinking_delta", Some(Block::Thinking { text: all, .. })) => {
                let piece = text(delta, "thinking");
                if all.len() + piece.len() > THINKING_BYTES_MAX {
                    return Err(DecodeError::invalid("it sent more reasoning than can be kept"));
                }
                all.push_str(piece);
                answer.reasoning(0, piece);
            }
            ("signature_delta", Some(Block::Thinking { signature, .. })) => {
                let piece = text(delta, "signature");
                if signature.len() + piece.len() > THINKING_BYTES_MAX {
                    return Err(DecodeError::invalid("it sent more reasoning than can be kept"));
                }
                signature.push_str(piece);
            }
            ("citations_delta", Some(Block::Text { citations, .. })) if citations.len() < CITATIONS_MAX => {
                citations.extend(delta.get("citation").cloned());
            }
            _ => {}
        }
        Ok(())
    }

    /// A block is complete.
    pub fn stop(&mut self, index: u64, answer: &mut Answer) -> Result<(), DecodeError> {
        match self.open.remove(&index) {
            Some(Block::Thinking { text, signature }) if !signature.is_empty() => answer.detail(
                0,
                Detail {
                    kind: Detail::TEXT.into(),
                    text: Some(text.into()),
                    signature: Some(signature.into()),
                    format: Some(CODEC.details.into()),
                    ..Detail::default()
                },
            ),
            Some(Block::Redacted { data }) => answer.detail(
                0,
                Detail {
                    kind: Detail::ENCRYPTED.into(),
                    data: Some(data.into()),
                    format: Some(CODEC.details.into()),
                    ..Detail::default()
                },
            ),
            Some(Block::Text { from, citations }) => {
                let until = answer.text_chars(0);
                for citation in &citations {
                    answer.annotation(0, annotation(citation, from, until));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// OpenAI's word for an ending.
    pub fn ending(&self, reason: &str) -> Ending {
        match reason {
            "end_turn" | "stop_sequence" => Ending::known("stop", reason),
            "max_tokens" | "model_context_window_exceeded" => Ending::known("length", reason),
            "tool_use" if self.stood_in => Ending::known("stop", reason),
            "tool_use" => Ending::known("tool_calls", reason),
            "refusal" => Ending::known("content_filter", reason),
            _ => Ending::unknown(reason),
        }
    }
}

/// A citation as an annotation of the text from one character to another.
fn annotation(citation: &Value, from: u64, until: u64) -> Value {
    if let Some(url) = citation.get("url").and_then(Value::as_str) {
        let title = citation.get("title").or_else(|| citation.get("document_title")).cloned();
        return json!({"type": "url_citation", "url_citation": {
            "url": url, "title": title.unwrap_or_default(), "start_index": from, "end_index": until,
        }});
    }
    json!({"type": "document_citation", "document_citation": citation, "start_index": from, "end_index": until})
}
