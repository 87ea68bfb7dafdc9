//! The keys of one provider row, `providers.<id>.*`: part of the table in `schema`, and all that a shipped row may hold.

use super::schema::{Key, Kind, key};
use super::settings::OnCancel;

const EFFORT: &[&str] = &["field", "reasoning_object", "thinking_object", "enable_thinking", "none"];
const MAX_TOKENS: &[&str] = &["as_sent", "max_tokens", "max_completion_tokens"];
const REASONING_BACK: &[&str] = &["as_sent", "reasoning_content", "remove"];

#[rustfmt::skip]
pub(super) const PROVIDER_KEYS: [Key; 86] = [
    key("providers.*.wire", Kind::Wire, Some("openai"), "Wire format that the provider speaks."),
    key("providers.*.path", Kind::Text, None, "Path after `base_url`, when it is not the format's own; `{model}` becomes the model's name, percent-encoded. E.g. `/openai/deployments/{model}/chat/completions?api-version=2024-10-21`."),
    key("providers.*.stream_path", Kind::Text, None, "The same for streams. Left out: that of `path`."),
    key("providers.*.responses", Kind::Bool, Some("false"), "Models that only OpenAI's Responses API serves (by the catalogue) are asked there."),
    key("providers.*.routes.#.models", Kind::Names, None, "Models (globs over the name upstream) that are served in another format or under another path; the first entry that matches counts."),
    key("providers.*.routes.#.wire", Kind::Wire, Some("openai"), "Their wire format."),
    key("providers.*.routes.#.path", Kind::Text, None, "Their path, as `path` above."),
    key("providers.*.routes.#.stream_path", Kind::Text, None, "Their path for streams. Left out: that of `path`."),
    key("providers.*.base_url", Kind::Url, None, "Address of the API without the endpoint, e.g. `https://api.openai.com/v1`. May hold `{NAME}` placeholders, filled from `vars`. Needed unless the id is a shipped one."),
    key("providers.*.base_urls.*", Kind::Url, None, "Addresses in place of a `base_url` that holds `{region}`, by the value of `vars.region`: for regions whose address has another form."),
    key("providers.*.api_key", Kind::Secret, None, "The credential. Left out: the first variable of `env` that is set. With `auth: aws` or `google` a token that is sent as it is; with `entra` the application's secret."),
    key("providers.*.api_keys.#.key", Kind::Secret, None, "Several keys in place of `api_key`. A key that the provider limits (429) rests for that model, one that it refuses (401, 402) is out until a probe goes well; the others go on."),
    key("providers.*.api_keys.#.name", Kind::Text, None, "What the key is called in logs and views. Left out: `key1` and so on."),
    key("providers.*.api_keys.#.weight", Kind::Count(0, 1000), Some("1"), "Share of the attempts relative to the other keys; 0: only when no other can be had."),
    key("providers.*.api_keys.#.rpm", Kind::Count(1, 4_000_000_000), None, "Requests per minute that the key allows. Left out: no limit here."),
    key("providers.*.api_keys.#.tpm", Kind::Count(1, 4_000_000_000), None, "Tokens per minute that it allows, prompt and completion."),
    key("providers.*.api_keys.#.concurrency", Kind::Count(1, 1_000_000), None, "Attempts at a time that it allows."),
    key("providers.*.auth", Kind::Auth, None, "How the credential travels: `bearer`, `header:NAME` or `none`. `aws` signs each request (SigV4, `vars.region`, `vars.service`), `google` and `entra` get tokens and renew them. Left out: as the wire format's vendor takes it (`header:x-api-key` for `anthropic`, `header:x-goog-api-key` for `gemini`, else `bearer`) when there is a credential to send, else `none`."),
    key("providers.*.credentials", Kind::Credentials, None, "Where the identity of `auth: aws`, `google` or `entra` comes from: `profile:NAME` of AWS's shared files, `file:PATH` of a Google credentials file or of a federated token for Entra, `instance` for the role or service account of the machine (AWS, Google). Left out: the usual variables, of which AWS_BEARER_TOKEN_BEDROCK goes before all others of AWS's."),
    key("providers.*.env", Kind::Names, None, "Environment variables that usually hold the credential."),
    key("providers.*.catalog", Kind::Text, None, "Provider id under which the catalogue lists its models. Left out: its own."),
    key("providers.*.vars.*", Kind::Var, None, "Values for the placeholders of `base_url`: a literal or `env:NAME`, of several names the first that is set. `auth: entra` takes `tenant`, `client`, `scope` and `authority` from here."),
    key("providers.*.headers.*", Kind::Header, None, "Further headers sent with every request; a literal, `env:NAME` or `file:PATH`. Never printed."),
    key("providers.*.max_in_flight", Kind::Count(1, 1_000_000), Some("4096"), "Attempts under way at most, over all worker threads."),
    key("providers.*.adaptive_limit", Kind::Bool, Some("true"), "Lower the limit when the provider slows down or refuses for overload (429, 503), down to `min_in_flight`, and raise it again up to `max_in_flight`."),
    key("providers.*.min_in_flight", Kind::Count(1, 1_000_000), Some("4"), "What the adaptive limit never goes below."),
    key("providers.*.queue.length", Kind::Count(0, 1_000_000), Some("1024"), "Calls that wait for the provider at most, when it has as many as it takes; keys take turns. The next one is shed (503)."),
    key("providers.*.queue.timeout", Kind::Duration, Some("5s"), "How long a call may wait there; one that would wait longer is shed at once."),
    key("providers.*.breaker.consecutive_failures", Kind::Count(1, 1_000_000), Some("5"), "Failures of a model in a row after which the provider is not asked for it."),
    key("providers.*.breaker.failure_rate", Kind::Count(0, 100), Some("50"), "Percentage of failures among the attempts of the last minute after which it is not asked; 0: never."),
    key("providers.*.breaker.slow_call", Kind::Duration, None, "A first token that takes longer makes a slow call. Left out: none is slow."),
    key("providers.*.breaker.slow_rate", Kind::Count(1, 100), Some("80"), "Percentage of slow calls among them after which it is not asked."),
    key("providers.*.breaker.minimum_calls", Kind::Count(1, 1_000_000), Some("20"), "Attempts that a percentage needs."),
    key("providers.*.breaker.cool_down", Kind::Duration, Some("5s"), "How long it is not asked; then one probe decides, and each that fails doubles the time."),
    key("providers.*.breaker.cool_down_max", Kind::Duration, Some("2m"), "The longest it is not asked."),
    key("providers.*.on_cancel", Kind::Choice(&OnCancel::WORDS), Some("estimate"), "What an attempt costs whose client leaves before the answer is complete. `estimate`: what was delivered, counted with a tokenizer and flagged; the connection is closed at once. `drain`: the answer is read to its end and booked as the provider reports it, for providers that charge for all of it anyway. `free`: nothing."),
    key("providers.*.cancel_drain", Kind::Duration, Some("60s"), "With `on_cancel: drain`, how long such an answer is read at most."),
    key("providers.*.warm_connections", Kind::Count(0, 64), Some("0"), "Connections that each worker keeps open to it, so that no call waits for one to be made: a HEAD request of `base_url` without a credential every 20 s."),
    key("providers.*.probe.path", Kind::Text, None, "Path after `base_url` that is asked (GET, with the credential) to see whether the provider is well, e.g. /models. While two in a row failed, other providers come first; 401, 402, 403 and 429 say nothing of it. Left out: it is not asked. Not with `auth` aws, google or entra."),
    key("providers.*.probe.interval", Kind::Duration, Some("30s"), "How often, by the whole process."),
    key("providers.*.probe.timeout", Kind::Duration, Some("10s"), "How long it may take to answer."),
    key("providers.*.timeouts.connect", Kind::Duration, Some("5s"), "TCP connect and TLS handshake."),
    key("providers.*.timeouts.head", Kind::Duration, Some("300s"), "From the request to the response head. Reasoning models that do not stream take minutes."),
    key("providers.*.timeouts.first_event", Kind::Duration, Some("120s"), "From the response head to the first content-bearing event of a stream."),
    key("providers.*.timeouts.idle", Kind::Duration, Some("120s"), "Between two reads of a body."),
    key("providers.*.timeouts.total", Kind::Duration, Some("600s"), "The whole attempt."),
    key("providers.*.model_timeouts.#.models", Kind::Names, None, "Models (globs over the name upstream) with time-outs of their own; the first entry that matches counts, and what it leaves out is the provider's."),
    key("providers.*.model_timeouts.#.connect", Kind::Duration, None, "How long the TCP connection may take; the TLS handshake has `timeouts.connect`, which this cannot exceed."),
    key("providers.*.model_timeouts.#.head", Kind::Duration, None, "As `timeouts.head`."),
    key("providers.*.model_timeouts.#.first_event", Kind::Duration, None, "As `timeouts.first_event`."),
    key("providers.*.model_timeouts.#.idle", Kind::Duration, None, "As `timeouts.idle`."),
    key("providers.*.model_timeouts.#.total", Kind::Duration, None, "As `timeouts.total`."),
    key("providers.*.quirks.max_tokens_field", Kind::Choice(MAX_TOKENS), Some("as_sent"), "Name under which the output limit is taken."),
    key("providers.*.quirks.max_completion_tokens_models", Kind::Names, None, "Models (globs) that take only `max_completion_tokens`."),
    key("providers.*.quirks.fixed_sampling_models", Kind::Names, None, "Models (globs) that take no sampling parameters other than the defaults."),
    key("providers.*.quirks.drop_params", Kind::Names, None, "Top-level request fields that are refused: dropped and named, or 400 under strict."),
    key("providers.*.quirks.rename_params.*", Kind::Text, None, "Top-level request fields with another name: ours to theirs."),
    key("providers.*.quirks.tool_choice_required", Kind::Text, None, "Word for `tool_choice: required`."),
    key("providers.*.quirks.reasoning_effort", Kind::Choice(EFFORT), Some("field"), "How `reasoning_effort` is taken."),
    key("providers.*.quirks.developer_role", Kind::Bool, Some("false"), "Role `developer` is understood; else it is sent as `system`."),
    key("providers.*.quirks.stream_options", Kind::Bool, Some("true"), "`stream_options.include_usage` is understood."),
    key("providers.*.quirks.bare_json_schema", Kind::Bool, Some("false"), "`response_format.json_schema` is sent as `{schema}` only."),
    key("providers.*.quirks.multiple_choices", Kind::Bool, Some("true"), "`n` above 1 is understood."),
    key("providers.*.quirks.reasoning_back", Kind::Choice(REASONING_BACK), Some("as_sent"), "What is done with reasoning that comes back in assistant messages."),
    key("providers.*.quirks.reasoning_scheme", Kind::Text, None, "Name that the vendor's reasoning bears in `reasoning_details`; reasoning of another name is not sent to it. Left out: that of the wire format."),
    key("providers.*.quirks.usage_pointers", Kind::Names, Some("/usage, /x_groq/usage, /choices/0/usage"), "JSON pointers under which usage may be found."),
    key("providers.*.quirks.completion_excludes_reasoning", Kind::Bool, Some("false"), "`completion_tokens` leaves reasoning out: it is added."),
    key("providers.*.quirks.body_version", Kind::Text, None, "Version of the `anthropic` format that goes into the body, where the path names the model."),
    key("providers.*.quirks.stream_field", Kind::Bool, Some("true"), "`stream` is said in the body of the `anthropic` format; if not, the path alone says it."),
    key("providers.*.quirks.both_sampling_models", Kind::Names, None, "Models (globs) of the `anthropic` format that take `temperature` and `top_p` at once; the others take one of them."),
    key("providers.*.quirks.adaptive_thinking_models", Kind::Names, None, "Models (globs) unknown to the catalogue whose thinking is steered by an effort, not a budget."),
    key("providers.*.quirks.always_thinking_models", Kind::Names, None, "Models (globs) that cannot be told not to think: they get the least that they take (wires `anthropic`, `gemini`)."),
    key("providers.*.quirks.native_schema_models", Kind::Names, None, "Models (globs) unknown to the catalogue that take a JSON schema as the form of the answer."),
    key("providers.*.quirks.thinking_level_models", Kind::Names, None, "Models (globs) whose thinking is steered by a level and not by a budget of tokens (wire `gemini`)."),
    key("providers.*.quirks.combining_models", Kind::Names, None, "Models (globs) that take together what others take one by one: functions, the vendor's own tools, a form of the answer, images inside a function's result (wire `gemini`)."),
    key("providers.*.quirks.show_server_tools", Kind::Bool, Some("false"), "The vendor's own tools beside functions must be told to show their parts (wire `gemini`)."),
    key("providers.*.quirks.openapi_schema_models", Kind::Names, None, "Models (globs) that take schemas only in OpenAPI's dialect: what it does not have is rewritten (wire `gemini`)."),
    key("providers.*.quirks.think_tags_models", Kind::Names, None, "Models (globs) that put reasoning into the text between `<think>` and `</think>`."),
    key("providers.*.quirks.budget_thinking_models", Kind::Names, None, "Models (globs) that the `bedrock-converse` format tells `thinking: {type: enabled}` and a budget. Of these lists and the one of adaptive thinking the first that matches counts; the catalogue knows better."),
    key("providers.*.quirks.max_effort_models", Kind::Names, None, "Models (globs) that are told `reasoningConfig: {maxReasoningEffort}`."),
    key("providers.*.quirks.plain_effort_models", Kind::Names, None, "Models (globs) that are told `reasoning_effort` among the fields of their own."),
    key("providers.*.quirks.reasoning_config_models", Kind::Names, None, "Models (globs) that are told `reasoning_config: low` or `high`."),
    key("providers.*.quirks.exclusive_sampling_models", Kind::Names, None, "Models (globs) of the `bedrock-converse` format that take `temperature` or `top_p`, but not both."),
    key("providers.*.quirks.free_tools_models", Kind::Names, None, "Models (globs) that cannot be made to call a tool."),
    key("providers.*.quirks.uncached_models", Kind::Names, None, "Models (globs) that refuse cache marks."),
    key("providers.*.quirks.uncached_tools_models", Kind::Names, None, "Models (globs) that refuse cache marks on tools."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::Quirks;

    #[test]
    fn the_table_knows_every_quirk_and_its_default() {
        let defaults = serde_json::to_value(Quirks::default()).unwrap();
        let prefix = "providers.*.quirks.";
        let in_table: BTreeSet<&str> = PROVIDER_KEYS
            .iter()
            .filter_map(|key| key.path.strip_prefix(prefix))
            .map(|name| name.trim_end_matches(".*"))
            .collect();
        let in_type: BTreeSet<&str> = defaults.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(in_table, in_type);
        for key in &PROVIDER_KEYS {
            let Some(name) = key.path.strip_prefix(prefix) else { continue };
            let (Some(text), Some(value)) = (key.default, defaults.get(name)) else { continue };
            let written = match value {
                serde_json::Value::String(word) => word.clone(),
                serde_json::Value::Array(items) => {
                    items.iter().filter_map(|i| i.as_str()).collect::<Vec<_>>().join(", ")
                }
                other => other.to_string(),
            };
            assert_eq!(written, text, "{name}");
        }
    }

    #[test]
    fn every_word_of_a_quirk_is_one_that_the_type_reads() {
        for key in &PROVIDER_KEYS {
            let (Some(name), Kind::Choice(words)) = (key.path.strip_prefix("providers.*.quirks."), key.kind)
            else {
                continue;
            };
            for word in words {
                let read = serde_json::from_value::<Quirks>(serde_json::json!({name: word}));
                assert!(read.is_ok(), "{name}: {word}");
            }
        }
    }
}
