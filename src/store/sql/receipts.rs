//! Receipts as rows of the ledger.

use super::pages::{list_json, tags_json};
use super::query::Value;
use crate::chat::Usage;
use crate::money::Usd;
use crate::receipt::Receipt;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Int,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
    /// True or false.
    Flag,
}

/// Columns of the ledger.
pub const COLUMNS: [(&str, Kind); 33] = [
    ("call_id", Kind::Bytes),
    ("attempt", Kind::Int),
    ("request_id", Kind::Text),
    ("time_ms", Kind::Int),
    ("key_id", Kind::Text),
    ("project", Kind::Text),
    ("requested_model", Kind::Text),
    ("provider", Kind::Text),
    ("model", Kind::Text),
    ("upstream_model", Kind::Text),
    ("status", Kind::Int),
    ("outcome", Kind::Text),
    ("error", Kind::Text),
    ("stream", Kind::Flag),
    ("ttft_ms", Kind::Int),
    ("duration_ms", Kind::Int),
    ("prompt_tokens", Kind::Int),
    ("cached_tokens", Kind::Int),
    ("cache_write_5m_tokens", Kind::Int),
    ("cache_write_1h_tokens", Kind::Int),
    ("completion_tokens", Kind::Int),
    ("reasoning_tokens", Kind::Int),
    ("audio_input_tokens", Kind::Int),
    ("audio_output_tokens", Kind::Int),
    ("image_input_tokens", Kind::Int),
    ("image_output_tokens", Kind::Int),
    ("web_searches", Kind::Int),
    ("estimated", Kind::Flag),
    ("cost", Kind::Int),
    ("service_tier", Kind::Text),
    ("tags", Kind::Text),
    ("charged", Kind::Int),
    ("tag_sets", Kind::Text),
];

/// The names of the columns, with a comma between.
pub fn names() -> String {
    COLUMNS.map(|(name, _)| name).join(", ")
}

/// The values of a receipt, in the order of [`COLUMNS`].
pub fn values(receipt: &Receipt) -> [Value; COLUMNS.len()] {
    let usage = receipt.usage.as_ref();
    let tokens = |of: fn(&Usage) -> u64| Value::Int(usage.map(|usage| stored_tokens(of(usage))));
    [
        receipt.call_id.to_bytes().as_slice().into(),
        receipt.attempt.into(),
        Value::from(&*receipt.request_id),
        receipt.time_ms.into(),
        Value::from(&*receipt.caller.key_id),
        receipt.caller.project.as_deref().into(),
        stored_name(&receipt.requested_model).into(),
        Value::from(&*receipt.provider),
        stored_name(&receipt.model).into(),
        stored_name(&receipt.upstream_model).into(),
        receipt.status.into(),
        receipt.outcome.as_str().into(),
        receipt.error.into(),
        receipt.stream.into(),
        receipt.ttft_ms.map(i64::from).into(),
        receipt.duration_ms.into(),
        tokens(|usage| usage.prompt),
        tokens(|usage| usage.cache_read),
        tokens(|usage| usage.cache_write_5m),
        tokens(|usage| usage.cache_write_1h),
        tokens(|usage| usage.completion),
        usage.and_then(|usage| usage.reasoning).map(stored_tokens).into(),
        tokens(|usage| usage.audio_input),
        tokens(|usage| usage.audio_output),
        tokens(|usage| usage.image_input),
        tokens(|usage| usage.image_output),
        tokens(|usage| usage.web_searches),
        receipt.estimated.into(),
        receipt.cost.map(Usd::units).into(),
        receipt.service_tier.as_deref().into(),
        tags_json(&receipt.tags).into(),
        receipt.charged.map(Usd::units).into(),
        tag_sets(receipt).into(),
    ]
}

/// The sets of tags that a call belonged to, as a JSON list.
fn tag_sets(receipt: &Receipt) -> Option<String> {
    let names: Vec<String> = receipt.tag_sets.iter().map(|name| name.to_string()).collect();
    (!names.is_empty()).then(|| list_json(&names))
}

/// A token count as the ledger holds it: cut at 2^32 - 1, far above any real call, so that no upstream's nonsense
/// can make a sum overflow.
pub fn stored_tokens(tokens: u64) -> i64 {
    i64::from(u32::try_from(tokens).unwrap_or(u32::MAX))
}

/// Bytes of a model's name that the ledger holds at most. A client may make one up; an index takes no long ones.
const NAME_BYTES_MAX: usize = 512;

/// A model's name as the ledger holds it.
pub fn stored_name(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or(name)
}
