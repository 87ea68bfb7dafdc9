//! Finish reasons: every vendor's word, in OpenAI's. Nothing is made up for a word nobody knows.

/// OpenAI's word for a vendor's; `None` when it has none.
pub fn canonical(word: &str) -> Option<&'static str> {
    Some(match word {
        "stop" | "eos" | "end_turn" | "STOP" | "stop_sequence" | "COMPLETE" => "stop",
        "length" | "model_length" | "max_tokens" | "MAX_TOKENS" => "length",
        "tool_calls" | "tool_call" | "tool_use" => "tool_calls",
        "content_filter" | "SAFETY" | "sensitive" => "content_filter",
        "function_call" => "function_call",
        _ => return None,
    })
}

/// True when the word is already OpenAI's and says what happened: any tool call means `tool_calls`.
pub fn is_exact(word: &str, has_tool_calls: bool) -> bool {
    canonical(word) == Some(word) && !(word == "stop" && has_tool_calls)
}

/// OpenAI's word, given whether there were tool calls.
pub fn settle(word: &str, has_tool_calls: bool) -> Option<&'static str> {
    match canonical(word) {
        Some("stop") if has_tool_calls => Some("tool_calls"),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_translated_and_never_made_up() {
        for (word, tools, expected) in [
            ("stop", false, Some("stop")),
            ("stop", true, Some("tool_calls")),
            ("eos", false, Some("stop")),
            ("model_length", false, Some("length")),
            ("length", true, Some("length")),
            ("tool_call", true, Some("tool_calls")),
            ("sensitive", false, Some("content_filter")),
            ("network_error", false, None),
            ("", false, None),
            ("error", false, None),
            ("MALFORMED_FUNCTION_CALL", true, None),
        ] {
            assert_eq!(settle(word, tools), expected, "{word} {tools}");
        }
        assert!(is_exact("stop", false) && !is_exact("stop", true) && !is_exact("eos", false));
    }
}
