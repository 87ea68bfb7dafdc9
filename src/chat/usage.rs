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
}
