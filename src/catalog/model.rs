//! What the catalogue knows of a model and of each provider's offer of it.

use std::sync::Arc;

use super::Price;
use crate::chat::Traits;

/// One thing a model can do. The names are those of the API (`capabilities` of GET /v1/models) and of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Capability {
    /// Function tools.
    Tools,
    /// Image input.
    Vision,
    /// Audio input.
    AudioInput,
    /// Audio output.
    AudioOutput,
    /// Document (PDF) input.
    File,
    /// Video input.
    Video,
    /// `response_format: json_schema`.
    JsonSchema,
    /// Reasoning, steered by `reasoning_effort`.
    Reasoning,
    /// Image output in chat.
    ImageOutput,
    /// Web search by the provider.
    WebSearch,
    /// Prompt caching.
    PromptCaching,
    /// `parallel_tool_calls`.
    ParallelTools,
}

/// A set of [`Capability`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// `self` with one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability as u8;
    }

    /// Is it in the set?
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// Those of `needed` that are not in `self`, in order.
    pub fn lacking(self, needed: Self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |one| needed.contains(*one) && !self.contains(*one))
    }

    /// All members, in order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |one| self.contains(*one))
    }
}

impl Capability {
    /// Every capability, in the order of the API.
    pub const ALL: [Self; 12] = [
        Self::Tools,
        Self::Vision,
        Self::AudioInput,
        Self::AudioOutput,
        Self::File,
        Self::Video,
        Self::JsonSchema,
        Self::Reasoning,
        Self::ImageOutput,
        Self::WebSearch,
        Self::PromptCaching,
        Self::ParallelTools,
    ];

    /// The name used in files, the API and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Vision => "vision",
            Self::AudioInput => "audio",
            Self::AudioOutput => "audio_output",
            Self::File => "file",
            Self::Video => "video",
            Self::JsonSchema => "json_schema",
            Self::Reasoning => "reasoning",
            Self::ImageOutput => "image_output",
            Self::WebSearch => "web_search",
            Self::PromptCaching => "prompt_caching",
            Self::ParallelTools => "parallel_tools",
        }
    }
}

/// One model, under the canonical name that joins the offers of all providers.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Canonical name, e.g. `llama-3.3-70b`.
    pub id: Arc<str>,
    /// In the pool that `auto` picks from.
    pub auto: bool,
    /// Who offers it, in file order; never empty.
    pub offers: Vec<Arc<Offer>>,
}

/// One provider's offer of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Provider id as in config/providers.yaml (`catalog` of the row).
    pub provider: Arc<str>,
    /// Canonical name of the model.
    pub model: Arc<str>,
    /// The name sent upstream.
    pub upstream: Arc<str>,
    /// Prompt plus output tokens that fit; `None` when unknown.
    pub context_window: Option<u64>,
    /// Output tokens at most; `None` when unknown.
    pub max_output: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Its controls and habits.
    pub traits: Traits,
    /// Day on which the provider retires it, `YYYY-MM-DD`.
    pub retires: Option<Arc<str>>,
    /// `None`: price unknown.
    pub price: Option<Arc<Price>>,
}
