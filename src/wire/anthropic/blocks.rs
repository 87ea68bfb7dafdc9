//! The blocks that an answer is made of, whole or as they come.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::CODEC;
use super::citation::{self, Source};
use crate::chat::conversation::{Detail, Str};
use crate::wire::DecodeError;
use crate::wire::encode::ANSWER_TOOL;
use crate::wire::translate::{Answer, Ending};

/// Blocks of one answer at most.
const BLOCKS_MAX: usize = 10_000;
/// Citations of one block at most.
const CITATIONS_MAX: usize = 1_000;
/// Reasoning under way at most, bytes.
const THINKING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A block as it begins; in a whole reply with all of its content.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Begun<'a> {
    #[serde(rename = "type", borrow)]
    kind: Str<'a>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    data: Option<Str<'a>>,
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    citations: Option<Vec<Value>>,
}

/// A piece of a block.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Piece<'a> {
    #[serde(rename = "type", borrow)]
    kind: Str<'a>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    partial_json: Option<Str<'a>>,
    citation: Option<Value>,
}

/// Blocks under way, by their index.
#[derive(Debug, Default)]
pub struct Blocks {
    open: BTreeMap<u64, Block>,
    seen: usize,
    thinking_bytes: usize,
    /// The tool that stands in for a schema was called: its arguments are the answer.
    stood_in: bool,
    /// What searches found, until something of it is cited.
    found: Vec<Source>,
    cited: bool,
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
    /// A call, or the tool that stands in (`None`); and the arguments that it began with.
    Tool {
        call: Option<usize>,
        begun_with: String,
        /// More of them came.
        argued: bool,
    },
    /// Tools that the vendor runs itself, and what later versions add.
    Other,
}

impl Blocks {
    /// A block begins.
    pub fn start(&mut self, index: u64, begun: Begun<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        self.seen += 1;
        if self.seen > BLOCKS_MAX {
            return Err(DecodeError::invalid("it sent more blocks than an answer can have"));
        }
        let given = |text: &Option<Str<'_>>| text.as_deref().unwrap_or_default().to_owned();
        let block = match begun.kind.as_ref() {
            "text" => {
                let from = answer.text_chars(0);
                answer.text(0, begun.text.as_deref().unwrap_or_default());
                let mut citations = begun.citations.unwrap_or_default();
                citations.truncate(CITATIONS_MAX);
                Block::Text { from, citations }
            }
            "thinking" => {
                let (text, signature) = (given(&begun.thinking), given(&begun.signature));
                self.keeps(text.len() + signature.len())?;
                answer.reasoning(0, &text);
                Block::Thinking { text, signature }
            }
            "redacted_thinking" => {
                let data = given(&begun.data);
                answer.detail(
                    0,
                    Detail {
                        kind: Detail::ENCRYPTED.into(),
                        data: Some(data.into()),
                        format: Some(CODEC.details.into()),
                        ..Detail::default()
                    },
                )?;
                Block::Other
            }
            "tool_use" => self.tool(&begun, answer),
            "web_search_tool_result" | "web_fetch_tool_result" => {
                citation::found(begun.content, &mut self.found);
                Block::Other
            }
            _ => Block::Other,
        };
        self.open.insert(index, block);
        Ok(())
    }

    fn keeps(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.thinking_bytes += bytes;
        if self.thinking_bytes > THINKING_BYTES_MAX {
            return Err(DecodeError::invalid("it sent more reasoning than can be kept"));
        }
        Ok(())
    }

    fn tool(&mut self, begun: &Begun<'_>, answer: &mut Answer) -> Block {
        let name = begun.name.as_deref().unwrap_or_default();
        let begun_with = begun.input.map_or("", RawValue::get).to_owned();
        let call = if name == ANSWER_TOOL {
            self.stood_in = true;
            None
        } else {
            Some(answer.open_call(0, begun.id.as_deref().unwrap_or_default(), name))
        };
        Block::Tool { call, begun_with, argued: false }
    }

    /// A piece of a block.
    pub fn piece(&mut self, index: u64, piece: Piece<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        match (piece.kind.as_ref(), self.open.get_mut(&index)) {
            ("text_delta", _) => answer.text(0, piece.text.as_deref().unwrap_or_default()),
            ("input_json_delta", Some(Block::Tool { call, argued, .. })) => {
                let fragment = piece.partial_json.as_deref().unwrap_or_default();
                *argued |= !fragment.is_empty();
                arguments(*call, fragment, answer);
            }
            ("thinking_delta", open) => {
                let more = piece.thinking.as_deref().unwrap_or_default();
                answer.reasoning(0, more);
                if let Some(Block::Thinking { text, .. }) = open {
                    text.push_str(more);
                    self.keeps(more.len())?;
                }
            }
            ("signature_delta", Some(Block::Thinking { signature, .. })) => {
                let more = piece.signature.as_deref().unwrap_or_default();
                signature.push_str(more);
                self.keeps(more.len())?;
            }
            ("citations_delta", Some(Block::Text { citations, .. })) if citations.len() < CITATIONS_MAX => {
                citations.extend(piece.citation);
            }
            _ => {}
        }
        Ok(())
    }

    /// A block is complete.
    pub fn stop(&mut self, index: u64, answer: &mut Answer) -> Result<(), DecodeError> {
        match self.open.remove(&index) {
            Some(Block::Thinking { text, signature }) => {
                self.thinking_bytes = self.thinking_bytes.saturating_sub(text.len() + signature.len());
                if signature.is_empty() {
                    // Nobody's: it could not be believed when it came back.
                    return Ok(());
                }
                answer.detail(
                    0,
                    Detail {
                        kind: Detail::TEXT.into(),
                        text: Some(text.into()),
                        signature: Some(signature.into()),
                        format: Some(CODEC.details.into()),
                        ..Detail::default()
                    },
                )
            }
            Some(Block::Tool { call, begun_with, argued }) => {
                if !argued {
                    arguments(call, &begun_with, answer);
                }
                Ok(())
            }
            Some(Block::Text { from, citations }) => {
                let until = answer.text_chars(0);
                for citation in &citations {
                    answer.annotation(0, citation::annotation(citation, from, until));
                }
                self.cited |= !citations.is_empty();
                Ok(())
            }
            Some(Block::Other) | None => Ok(()),
        }
    }

    /// The answer is over: what is still open is complete, and what was found but never cited is told.
    pub fn finish(&mut self, reason: &str, answer: &mut Answer) -> Result<(), DecodeError> {
        while let Some(index) = self.open.keys().next().copied() {
            self.stop(index, answer)?;
        }
        if !self.cited {
            let at = answer.text_chars(0);
            for source in std::mem::take(&mut self.found) {
                answer.annotation(0, source.annotation(at));
            }
        }
        let ending = self.ending(reason, answer.calls(0) > 0);
        answer.finish(0, ending);
        Ok(())
    }

    /// OpenAI's word for an ending.
    fn ending(&self, reason: &str, called: bool) -> Ending {
        match reason {
            "end_turn" | "stop_sequence" => Ending::known("stop", reason),
            "max_tokens" | "model_context_window_exceeded" => Ending::known("length", reason),
            "tool_use" if called => Ending::known("tool_calls", reason),
            "tool_use" if self.stood_in => Ending::known("stop", reason),
            "refusal" => Ending::known("content_filter", reason),
            _ => Ending::unknown(reason),
        }
    }
}

/// Arguments of a call, or text of the answer for the tool that stands in.
fn arguments(call: Option<usize>, fragment: &str, answer: &mut Answer) {
    match call {
        Some(call) => answer.call_arguments(0, call, fragment),
        None => answer.text(0, fragment),
    }
}
