//! Content blocks as they are sent.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

/// One block of a message or of the system prompt.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block<'a> {
    /// Text.
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    /// An image.
    Image {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    /// A document.
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    /// A call.
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    /// Its result.
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Result<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    /// Reasoning, exactly as it was minted.
    Thinking { thinking: Cow<'a, str>, signature: Cow<'a, str> },
    /// Reasoning that only its minter can read.
    RedactedThinking { data: Cow<'a, str> },
    /// A block in the vendor's own words.
    #[serde(untagged)]
    Raw(&'a RawValue),
}

/// Content of a tool's result.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Result<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<Block<'a>>),
}

/// Where the bytes of an image or document are.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    Text { media_type: &'static str, data: Cow<'a, str> },
    File { file_id: &'a str },
}

impl<'a> Block<'a> {
    /// A text of the gateway's own.
    pub fn plain(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text { text: text.into(), cache_control: None }
    }

    /// A text of white space alone, which the API refuses.
    pub fn is_blank(&self) -> bool {
        matches!(self, Self::Text { text, .. } if text.trim().is_empty())
    }

    /// Part of the model's reasoning.
    pub fn is_thought(&self) -> bool {
        matches!(self, Self::Thinking { .. } | Self::RedactedThinking { .. })
    }

    /// Where its cache marks are: those of what it holds, then its own.
    pub fn marks<'m>(&'m mut self, all: &mut Vec<&'m mut Option<&'a RawValue>>) {
        match self {
            Self::ToolResult { content: Result::Blocks(blocks), cache_control, .. } => {
                all.extend(blocks.iter_mut().filter_map(Self::mark));
                all.push(cache_control);
            }
            other => all.extend(other.mark()),
        }
    }

    /// Where its own cache mark is; `None` for blocks that take none.
    pub fn mark(&mut self) -> Option<&mut Option<&'a RawValue>> {
        match self {
            Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::Document { cache_control, .. }
            | Self::ToolUse { cache_control, .. }
            | Self::ToolResult { cache_control, .. } => Some(cache_control),
            Self::Thinking { .. } | Self::RedactedThinking { .. } | Self::Raw(_) => None,
        }
    }
}

/// Marks kept at most, over tools, system and messages.
const MARKS_MAX: usize = 4;

/// Takes the earliest marks off where there are too many; true when it did. `fixed`: how many there are besides these.
pub fn limit_marks(marks: Vec<&mut Option<&RawValue>>, fixed: usize) -> bool {
    let mut set: Vec<&mut Option<&RawValue>> = marks.into_iter().filter(|mark| mark.is_some()).collect();
    let surplus = (set.len() + fixed).saturating_sub(MARKS_MAX);
    for mark in set.iter_mut().take(surplus) {
        **mark = None;
    }
    surplus > 0
}

/// True when something that is sent in the client's own words is marked.
pub fn is_marked(raw: &RawValue) -> bool {
    raw.get().contains("\"cache_control\"")
}
