//! Token usage of one attempt, in the terms of OpenAI's chat API.
//!
//! Invariant: `prompt` includes cached and cache-written tokens, `completion` includes reasoning; the detail
//! counts are parts of these two, never additions to them.

/// Token counts as reported by an upstream (or estimated, which the holder flags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, including `cache_read` and both `cache_write` counts.
    pub prompt: u64,
    /// Output tokens, including `reasoning`.
    pub completion: u64,
    /// `total_tokens` as the upstream reported it.
    pub total: u64,
    /// Input tokens read from the provider's prompt cache.
    pub cache_read: u64,
    /// Input tokens written to the prompt cache with the short (5 minute) life time.
    pub cache_write_5m: u64,
    /// Input tokens written to the prompt cache with the one hour life time.
    pub cache_write_1h: u64,
    /// Output tokens spent on reasoning; `None` when the upstream does not say.
    pub reasoning: Option<u64>,
    /// Input tokens that are audio.
    pub audio_input: u64,
    /// Output tokens that are audio.
    pub audio_output: u64,
    /// Input tokens that are images, where reported.
    pub image_input: u64,
    /// Output tokens that are images, where reported.
    pub image_output: u64,
    /// Web searches the upstream made on the request's behalf.
    pub web_searches: u64,
    /// What of it is charged, where the upstream says so apart from what was read and written.
    pub billed: Option<Billed>,
}

/// Tokens that an upstream charges for, all of them at the plain rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Billed {
    /// Input tokens.
    pub prompt: u64,
    /// Output tokens.
    pub completion: u64,
}

impl Usage {
    /// The counts that a price applies to.
    pub fn charged(&self) -> Self {
        let Some(Billed { prompt, completion }) = self.billed else { return *self };
        let total = prompt.saturating_add(completion);
        Self { prompt, completion, total, web_searches: self.web_searches, ..Self::default() }
    }
}
