//! How an answer ended, in OpenAI's words.

use crate::wire::translate::{Answer, Ending};

/// The ending for Bedrock's `stopReason`. `in_form`: the answer came as a call of the tool that stands in for a form.
pub fn ending(native: &str, in_form: bool, answer: &Answer) -> Ending {
    match native {
        "end_turn" | "stop_sequence" => Ending::known("stop", native),
        "tool_use" if in_form && answer.calls(0) == 0 => Ending::known("stop", native),
        "tool_use" => Ending::known("tool_calls", native),
        "max_tokens" | "model_context_window_exceeded" => Ending::known("length", native),
        "guardrail_intervened" | "content_filtered" => Ending::known("content_filter", native),
        // malformed_model_output, malformed_tool_use, and what is not known yet.
        _ => Ending::unknown(native),
    }
}
