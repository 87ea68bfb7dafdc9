//! Decoding a stream: messageStart, blocks (start, deltas, stop), messageStop, metadata.
//!
//! Invariants: the ending waits for `metadata`, which has the usage and comes last; what is kept of open blocks is
//! bounded.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::reply::{Beside, Image, SERVER_TOOL};
use super::{citation, finish, reasoning};
use crate::chat::conversation::Str;
use crate::wire::encode::ANSWER_TOOL;
use crate::wire::translate::{Answer, Ending, Events, Flow, Frame, unreadable};
use crate::wire::{DecodeError, base64};

/// Blocks that are open at once, at most. Real streams have one or two.
const OPEN_MAX: usize = 256;
/// Reasoning kept of open blocks, bytes.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Starts reading a stream.
pub fn start() -> Box<dyn Events> {
    Box::new(Stream::default())
}

#[derive(Debug, Default)]
struct Stream {
    open: Vec<(u64, Block)>,
    kept_bytes: usize,
    /// The answer came as a call of the tool that stands in for a form.
    in_form: bool,
    /// Said by `messageStop`.
    ending: Option<Ending>,
}

/// A block that is not complete.
#[derive(Debug)]
enum Block {
    /// Text, from this character of the answer on.
    Text { start: u64 },
    /// A call of a tool, by its place among the calls.
    Call(usize),
    /// A call of the tool that stands in for a form.
    Form,
    /// Something of a server's own tool.
    Server,
    /// Reasoning, kept until its signature is whole.
    Reasoning(Thought),
}

#[derive(Debug, Default)]
struct Thought {
    text: String,
    signature: String,
    redacted: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    #[serde(default)]
    content_block_index: u64,
    #[serde(borrow)]
    start: Option<Start<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow)]
    tool_use: Option<ToolStart<'a>>,
    tool_result: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolStart<'a> {
    #[serde(borrow)]
    tool_use_id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta<'a> {
    #[serde(default)]
    content_block_index: u64,
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    tool_use: Option<Input<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<ReasoningDelta<'a>>,
    citation: Option<Value>,
    #[serde(borrow)]
    image: Option<Image<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    input: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningDelta<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    redacted_content: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop {
    #[serde(default)]
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop {
    stop_reason: String,
}

fn owned<T: DeserializeOwned>(data: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(data).map_err(|_| unreadable())
}

impl Events for Stream {
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        match frame.event {
            "contentBlockDelta" => {
                let BlockDelta { content_block_index: index, delta } =
                    serde_json::from_slice(frame.data).map_err(|_| unreadable())?;
                self.delta(index, &delta, answer)?;
            }
            "contentBlockStart" => {
                let begun: BlockStart<'_> = serde_json::from_slice(frame.data).map_err(|_| unreadable())?;
                self.begin(&begun, answer)?;
            }
            "contentBlockStop" => {
                let stopped: BlockStop = owned(frame.data)?;
                self.close(stopped.content_block_index, answer)?;
            }
            "messageStop" => {
                let stopped: MessageStop = owned(frame.data)?;
                while let Some((index, _)) = self.open.first() {
                    self.close(*index, answer)?;
                }
                self.ending = Some(finish::ending(&stopped.stop_reason, self.in_form, answer));
            }
            "metadata" => {
                let beside: Beside<'_> = serde_json::from_slice(frame.data).map_err(|_| unreadable())?;
                beside.tell(answer);
                if let Some(ending) = self.ending.take() {
                    answer.finish(0, ending);
                    return Ok(Flow::End);
                }
            }
            // messageStart says that an assistant speaks; what is not known yet is passed over.
            _ => {}
        }
        Ok(Flow::Continue)
    }

    /// A message that stopped is complete, also when the upstream does not come to its usage.
    fn end_of_input(&mut self, answer: &mut Answer) -> Result<bool, DecodeError> {
        let Some(ending) = self.ending.take() else { return Ok(false) };
        answer.finish(0, ending);
        Ok(true)
    }
}

impl Stream {
    fn begin(&mut self, begun: &BlockStart<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        let Some(start) = &begun.start else { return Ok(()) };
        let block = match &start.tool_use {
            Some(tool) if tool.kind.as_deref() == Some(SERVER_TOOL) => Block::Server,
            Some(tool) if tool.name == ANSWER_TOOL => {
                self.in_form = true;
                Block::Form
            }
            Some(tool) => {
                Block::Call(answer.open_call(0, tool.tool_use_id.as_deref().unwrap_or_default(), &tool.name))
            }
            None if start.tool_result.is_some() => Block::Server,
            None => return Ok(()),
        };
        self.insert(begun.content_block_index, block)
    }

    fn insert(&mut self, index: u64, block: Block) -> Result<(), DecodeError> {
        if self.open.len() >= OPEN_MAX {
            return Err(DecodeError::invalid("too many blocks of its stream are open at once"));
        }
        self.open.retain(|(known, _)| *known != index);
        self.open.push((index, block));
        Ok(())
    }

    fn find(&mut self, index: u64) -> Option<&mut Block> {
        self.open.iter_mut().find(|(known, _)| *known == index).map(|(_, block)| block)
    }

    /// Where the text of a block begins: text has no start of its own, its first delta opens it.
    fn text_block(&mut self, index: u64, answer: &mut Answer) -> Result<u64, DecodeError> {
        if let Some(Block::Text { start }) = self.find(index) {
            return Ok(*start);
        }
        self.close(index, answer)?;
        let start = answer.text_chars(0);
        self.insert(index, Block::Text { start })?;
        Ok(start)
    }

    fn delta(&mut self, index: u64, delta: &Delta<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        if let Some(text) = delta.text.as_deref().filter(|text| !text.is_empty()) {
            self.text_block(index, answer)?;
            answer.text(0, text);
        }
        if let Some(told) = &delta.citation {
            let start = self.text_block(index, answer)?;
            citation::tell(told, start, answer.text_chars(0), answer);
        }
        if let Some(tool) = &delta.tool_use {
            let input = tool.input.as_deref().unwrap_or("");
            match self.find(index) {
                Some(Block::Call(call)) => answer.call_arguments(0, *call, input),
                Some(Block::Form) => answer.text(0, input),
                Some(Block::Server) => {}
                // Arguments of a call that was never made.
                _ => return Err(unreadable()),
            }
        }
        if let Some(told) = &delta.reasoning_content {
            self.think(index, told, answer)?;
        }
        if let Some(image) = &delta.image {
            image.tell(answer);
        }
        Ok(())
    }

    fn think(
        &mut self,
        index: u64,
        told: &ReasoningDelta<'_>,
        answer: &mut Answer,
    ) -> Result<(), DecodeError> {
        let text = told.text.as_deref().unwrap_or("");
        let signature = told.signature.as_deref().unwrap_or("");
        let redacted = told.redacted_content.as_deref().unwrap_or("");
        let redacted = base64::decode(redacted).ok_or_else(unreadable)?;
        self.kept_bytes += text.len() + signature.len() + redacted.len();
        if self.kept_bytes > KEPT_BYTES_MAX {
            return Err(DecodeError::invalid("it sent more reasoning than can be kept"));
        }
        if !matches!(self.find(index), Some(Block::Reasoning(_))) {
            self.insert(index, Block::Reasoning(Thought::default()))?;
        }
        let Some(Block::Reasoning(thought)) = self.find(index) else { return Err(unreadable()) };
        thought.text.push_str(text);
        thought.signature.push_str(signature);
        thought.redacted.extend_from_slice(&redacted);
        answer.reasoning(0, text);
        Ok(())
    }

    /// A block is complete: reasoning that must travel back is told with its signature.
    fn close(&mut self, index: u64, answer: &mut Answer) -> Result<(), DecodeError> {
        let Some(at) = self.open.iter().position(|(known, _)| *known == index) else { return Ok(()) };
        let (_, Block::Reasoning(thought)) = self.open.remove(at) else { return Ok(()) };
        let Thought { text, signature, redacted } = thought;
        self.kept_bytes = self.kept_bytes.saturating_sub(text.len() + signature.len() + redacted.len());
        if !signature.is_empty() {
            answer.detail(0, reasoning::signed(&text, &signature))?;
        }
        if !redacted.is_empty() {
            answer.detail(0, reasoning::redacted(base64::encode(&redacted)))?;
        }
        Ok(())
    }
}
