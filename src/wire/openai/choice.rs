//! One choice of a stream: what was seen of it so far.

use super::think::ThinkSplitter;
use super::tool_calls::ToolCalls;
use crate::wire::decode::Delivered;

/// State of one choice.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `index` upstream.
    pub index: u32,
    /// A delta with a role went out.
    pub role_sent: bool,
    /// A finish reason, known or not, came in.
    pub finished: bool,
    /// Tool calls.
    pub tools: ToolCalls,
    /// For models that think in tags.
    pub think: Option<ThinkSplitter>,
}

/// The choices of a stream, and what was delivered.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    list: Vec<Choice>,
    think_tags: bool,
    /// Text, reasoning and tool arguments delivered.
    pub delivered: Delivered,
}

/// Choices of one stream at most; a real `n` is far below.
const CHOICES_MAX: usize = 1024;

impl Choices {
    /// For a model that thinks in tags, or not.
    pub fn new(think_tags: bool) -> Self {
        Self { think_tags, ..Self::default() }
    }

    /// The state of a choice that was seen before.
    pub fn get(&self, index: u32) -> Option<&Choice> {
        self.list.iter().find(|choice| choice.index == index)
    }

    /// The state of a choice, new if need be; `None` beyond the bound.
    pub fn get_or_open(&mut self, index: u32) -> Option<&mut Choice> {
        if let Some(at) = self.list.iter().position(|choice| choice.index == index) {
            return self.list.get_mut(at);
        }
        if self.list.len() == CHOICES_MAX {
            return None;
        }
        let think = self.think_tags.then(ThinkSplitter::default);
        self.list.push(Choice { index, think, ..Choice::default() });
        self.list.last_mut()
    }

    /// True when models of this stream think in tags.
    pub fn think_tags(&self) -> bool {
        self.think_tags
    }

    /// Choices whose finish reason came in.
    pub fn finished(&self) -> usize {
        self.list.iter().filter(|choice| choice.finished).count()
    }

    /// Choices that were opened and whose finish reason did not come in.
    pub fn unfinished(&self) -> Vec<u32> {
        self.list.iter().filter(|choice| !choice.finished).map(|choice| choice.index).collect()
    }

    /// True when at least one choice was opened and all that were are finished.
    pub fn all_finished(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|choice| choice.finished)
    }

    /// Notes text that goes to the client.
    pub fn deliver(&mut self, text: &str) {
        self.delivered.note(text);
    }
}
