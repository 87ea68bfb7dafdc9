//! Usage: cumulative, and told in pieces; a later piece replaces what it repeats.

use serde_json::Value;

use crate::chat::Usage;
use crate::wire::usage::count;

/// What was told so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    reasoning: Option<u64>,
    web_searches: Option<u64>,
}

impl Tally {
    /// Takes one more piece.
    pub fn add(&mut self, usage: &Value) {
        let mut take = |slot: fn(&mut Self) -> &mut Option<u64>, pointer: &str| {
            if let Some(told) = count(usage.pointer(pointer)) {
                *slot(self) = Some(told);
            }
        };
        take(|tally| &mut tally.input, "/input_tokens");
        take(|tally| &mut tally.output, "/output_tokens");
        take(|tally| &mut tally.cache_read, "/cache_read_input_tokens");
        take(|tally| &mut tally.cache_write, "/cache_creation_input_tokens");
        take(|tally| &mut tally.cache_write_1h, "/cache_creation/ephemeral_1h_input_tokens");
        take(|tally| &mut tally.reasoning, "/output_tokens_details/thinking_tokens");
        take(|tally| &mut tally.web_searches, "/server_tool_use/web_search_requests");
    }

    /// The sums; `None` before both sides were told.
    pub fn usage(&self) -> Option<Usage> {
        let completion = self.output?;
        let (read, write) = (self.cache_read.unwrap_or(0), self.cache_write.unwrap_or(0));
        let prompt = self.input?.saturating_add(read).saturating_add(write);
        let hour = self.cache_write_1h.unwrap_or(0).min(write);
        Some(Usage {
            prompt,
            completion,
            total: prompt.saturating_add(completion),
            cache_read: read,
            cache_write_5m: write - hour,
            cache_write_1h: hour,
            reasoning: self.reasoning,
            web_searches: self.web_searches.unwrap_or(0),
            ..Usage::default()
        })
    }
}
