//! Why a candidate finished, in OpenAI's words.

use crate::wire::translate::Ending;

/// Endings that are the filter's doing; so is whatever begins with `IMAGE_`.
const FILTERED: [&str; 5] = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"];

/// The ending that a `finishReason` names. What OpenAI has no word for stays Google's own: a malformed call, a
/// missing signature or `OTHER` is no clean stop.
pub fn ending(native: &str) -> Ending {
    match native {
        "STOP" => Ending::known("stop", native),
        "MAX_TOKENS" => Ending::known("length", native),
        _ if FILTERED.contains(&native) || native.starts_with("IMAGE_") => filtered(native),
        _ => Ending::unknown(native),
    }
}

/// The ending of what a filter stopped.
pub fn filtered(native: &str) -> Ending {
    Ending::known("content_filter", native)
}
