//! Requests by table: a client's body, and what goes upstream.

use serde_json::{Value, json};

use crate::chat::{Facts, Trait, Traits};
use crate::wire::encode::ANSWER_TOOL;
use crate::wire::testing::{self, Target};
use crate::wire::{Quirks, WireFormat};

const FORMAT: WireFormat = WireFormat::BedrockConverse;

/// A request of one question with more fields.
pub fn ask(more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub fn tool(name: &str) -> Value {
    let parameters = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    json!({"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}})
}

pub fn globs() -> Vec<String> {
    vec!["*".to_owned()]
}

pub fn claude() -> Target {
    let quirks = Quirks { budget_thinking_models: globs(), ..Quirks::default() };
    Target { quirks, ..Target::default() }
}

fn with_traits(traits: &[Trait], target: Target) -> Target {
    let traits = traits.iter().fold(Traits::default(), |all, one| all.with(*one));
    Target { facts: Facts { known: true, traits, ..target.facts }, ..target }
}

/// What goes upstream of a field of the body, and what was dropped.
#[track_caller]
pub fn check(body: &Value, target: &Target, pointer: &str, expected: Value, dropped: &[&str]) {
    let (sent, named) = testing::sent(FORMAT, body, target);
    assert_eq!(sent.pointer(pointer).cloned().unwrap_or_default(), expected, "{body}\n{sent}");
    assert_eq!(named, dropped, "{body}");
}

#[test]
fn limits_and_sampling_have_their_names() {
    let plain = Target::default();
    let exclusive = Target {
        quirks: Quirks { exclusive_sampling_models: globs(), ..Quirks::default() },
        ..Target::default()
    };
    let fixed = with_traits(&[Trait::FixedSampling], Target::default());
    for (target, more, expected, dropped) in [
        (&plain, json!({}), Value::Null, &[] as &[&str]),
        (
            &plain,
            json!({"max_tokens": 5, "temperature": 0.0, "top_p": 0.5, "stop": "x"}),
            json!({"maxTokens": 5, "temperature": 0.0, "topP": 0.5, "stopSequences": ["x"]}),
            &[],
        ),
        (
            &plain,
            json!({"max_completion_tokens": 7, "stop": ["a", "b"]}),
            json!({"maxTokens": 7, "stopSequences": ["a", "b"]}),
            &[],
        ),
        (&plain, json!({"stop": []}), Value::Null, &[]),
        (&plain, json!({"temperature": 1.5}), Value::Null, &["temperature"]),
        (&exclusive, json!({"temperature": 0.5, "top_p": 0.5}), json!({"temperature": 0.5}), &["top_p"]),
        (&exclusive, json!({"top_p": 0.5}), json!({"topP": 0.5}), &[]),
        (&fixed, json!({"temperature": 0.5, "top_p": 1}), Value::Null, &["temperature"]),
        (
            &plain,
            json!({"seed": 1, "user": "u", "frequency_penalty": 0.5}),
            Value::Null,
            &["seed", "user", "frequency_penalty"],
        ),
    ] {
        check(&ask(more), target, "/inferenceConfig", expected, dropped);
    }
    let error = testing::encode(FORMAT, &ask(json!({"n": 2})).to_string(), &plain).unwrap_err();
    assert_eq!(error.code(), Some("unsupported_parameter"));
}

#[test]
fn fields_beside_the_conversation_travel() {
    let plain = Target::default();
    let guardrail = json!({"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"});
    for (more, pointer, expected, dropped) in [
        (json!({"guardrailConfig": guardrail}), "/guardrailConfig", guardrail.clone(), &[] as &[&str]),
        (
            json!({"performanceConfig": {"latency": "optimized"}}),
            "/performanceConfig/latency",
            json!("optimized"),
            &[],
        ),
        (
            json!({"additionalModelResponseFieldPaths": ["/a"]}),
            "/additionalModelResponseFieldPaths",
            json!(["/a"]),
            &[],
        ),
        (
            json!({"additionalModelRequestFields": {"top_k": 5}}),
            "/additionalModelRequestFields",
            json!({"top_k": 5}),
            &[],
        ),
        (json!({"service_tier": "flex"}), "/serviceTier", json!({"type": "flex"}), &[]),
        (json!({"service_tier": "auto"}), "/serviceTier", Value::Null, &[]),
        (json!({"service_tier": "scale"}), "/serviceTier", Value::Null, &["service_tier"]),
        (json!({"metadata": {"team": "search"}}), "/requestMetadata", json!({"team": "search"}), &[]),
        (json!({"metadata": {"team": "such!"}}), "/requestMetadata", Value::Null, &["metadata"]),
        (
            json!({"requestMetadata": {"a": "b"}, "metadata": {"c": "d"}}),
            "/requestMetadata",
            json!({"a": "b"}),
            &["metadata"],
        ),
        (
            json!({"parallel_tool_calls": false, "tools": [tool("f")]}),
            "/toolConfig/toolChoice",
            Value::Null,
            &["parallel_tool_calls"],
        ),
        (json!({"unheard_of": 1}), "/unheard_of", Value::Null, &["unheard_of"]),
    ] {
        check(&ask(more), &plain, pointer, expected, dropped);
    }
    let bad = ask(json!({"additionalModelRequestFields": []})).to_string();
    assert_eq!(testing::encode(FORMAT, &bad, &plain).unwrap_err().class().status, 400);
}

#[test]
fn choices_among_tools_are_told_where_they_can_be() {
    let plain = Target::default();
    let free = with_traits(&[Trait::FreeToolsOnly], Target::default());
    let thinking = claude();
    for (target, more, expected, dropped) in [
        (&plain, json!({}), Value::Null, &[] as &[&str]),
        (&plain, json!({"tool_choice": "auto"}), json!({"auto": {}}), &[]),
        (&plain, json!({"tool_choice": "required"}), json!({"any": {}}), &[]),
        (
            &plain,
            json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}),
            json!({"tool": {"name": "f"}}),
            &[],
        ),
        (&free, json!({"tool_choice": "auto"}), Value::Null, &[]),
        (&free, json!({"tool_choice": "required"}), Value::Null, &["tool_choice"]),
        (
            &thinking,
            json!({"tool_choice": "required", "reasoning_effort": "low"}),
            Value::Null,
            &["tool_choice"],
        ),
        (&thinking, json!({"tool_choice": "auto", "reasoning_effort": "low"}), json!({"auto": {}}), &[]),
    ] {
        let mut more = more;
        more["tools"] = json!([tool("f")]);
        check(&ask(more), target, "/toolConfig/toolChoice", expected, dropped);
    }
    let history = json!([{"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "old", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "r"}]);
    let name = "/toolConfig/tools/0/toolSpec/name";
    // None: no tools, unless the history needs them.
    check(
        &ask(json!({"tools": [tool("f")], "tool_choice": "none"})),
        &plain,
        "/toolConfig",
        Value::Null,
        &[],
    );
    let kept = ask(json!({"messages": history, "tools": [tool("f")], "tool_choice": "none"}));
    check(&kept, &plain, name, json!("f"), &["tool_choice"]);
    check(&ask(json!({"messages": history})), &plain, name, json!("old"), &[]);
}

#[test]
fn tools_are_told_in_full() {
    let native = with_traits(&[Trait::NativeSchema], Target::default());
    let strict = json!({"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object"}}});
    let bare = json!({"type": "function", "function": {"name": "f", "description": ""}});
    let spec = |value: Value| json!({"toolSpec": value});
    for (target, tool, expected, dropped) in [
        (
            &native,
            strict.clone(),
            spec(json!({"name": "f", "inputSchema": {"json": {"type": "object"}}, "strict": true})),
            &[] as &[&str],
        ),
        (
            &Target::default(),
            strict,
            spec(json!({"name": "f", "inputSchema": {"json": {"type": "object"}}})),
            &["tools[0].function.strict"],
        ),
        (
            &Target::default(),
            bare,
            spec(json!({"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}})),
            &[],
        ),
        (
            &Target::default(),
            json!({"type": "system_tool", "systemTool": {"name": "nova_grounding"}}),
            json!({"systemTool": {"name": "nova_grounding"}}),
            &[],
        ),
        (&Target::default(), json!({"type": "web_search"}), Value::Null, &["tools[0]"]),
    ] {
        check(&ask(json!({"tools": [tool]})), target, "/toolConfig/tools/0", expected, dropped);
    }
}

#[test]
fn a_form_is_native_or_a_tool_that_must_be_called() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let form =
        json!({"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": schema}});
    let native = with_traits(&[Trait::NativeSchema], Target::default());
    let told = json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema":
        {"schema": schema.to_string(), "name": "n", "description": "d"}}}});
    check(&ask(json!({"response_format": form})), &native, "/outputConfig", told, &[]);
    let plain = Target::default();
    let own = json!({"toolSpec": {"name": ANSWER_TOOL, "description": "d", "inputSchema": {"json": schema}}});
    let alone = json!({"tools": [own], "toolChoice": {"tool": {"name": ANSWER_TOOL}}});
    check(&ask(json!({"response_format": form})), &plain, "/toolConfig", alone, &[]);
    let both = ask(json!({"response_format": form, "tools": [tool("f")]}));
    check(&both, &plain, "/toolConfig/toolChoice", json!({"any": {}}), &[]);
    check(&both, &plain, "/toolConfig/tools/1/toolSpec/name", json!(ANSWER_TOOL), &[]);
    let mut history = both.clone();
    history["tool_choice"] = json!("none");
    history["messages"] = json!([{"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "r"}]);
    let only = json!({"tool": {"name": ANSWER_TOOL}});
    check(&history, &plain, "/toolConfig/toolChoice", only, &["tool_choice"]);
    let forced = ask(json!({"response_format": form, "tools": [tool("f")], "tool_choice": "required"}));
    check(&forced, &plain, "/toolConfig/tools/1", Value::Null, &[]);
    let thinking = ask(json!({"response_format": form, "reasoning_effort": "low"}));
    check(&thinking, &claude(), "/toolConfig", Value::Null, &["response_format"]);
    let object = ask(json!({"response_format": {"type": "json_object"}}));
    check(&object, &plain, "/outputConfig", Value::Null, &["response_format"]);
}

#[test]
fn thinking_is_told_as_each_family_is() {
    let quirks = |change: fn(&mut Quirks)| {
        let mut quirks = Quirks::default();
        change(&mut quirks);
        Target { quirks, ..Target::default() }
    };
    let budget = claude();
    let adaptive = quirks(|quirks| quirks.adaptive_thinking_models = globs());
    let nova = quirks(|quirks| quirks.max_effort_models = globs());
    let open = quirks(|quirks| quirks.plain_effort_models = globs());
    let config = quirks(|quirks| quirks.reasoning_config_models = globs());
    let enabled = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    let effort = |word: &str| json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": word}});
    let most = |word: &str| json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}});
    let max = with_traits(&[Trait::AdaptiveThinking, Trait::MaxEffort], claude());
    for (target, word, expected, dropped) in [
        (&budget, "minimal", enabled(1024), &[] as &[&str]),
        (&budget, "low", enabled(2048), &[]),
        (&budget, "medium", enabled(8192), &[]),
        (&budget, "high", enabled(16384), &[]),
        (&budget, "xhigh", enabled(32768), &[]),
        (&budget, "none", Value::Null, &[]),
        (&adaptive, "minimal", effort("low"), &[]),
        (&adaptive, "xhigh", effort("high"), &[]),
        (&max, "xhigh", effort("max"), &[]),
        (&nova, "minimal", most("low"), &[]),
        (&nova, "high", most("high"), &[]),
        (&open, "xhigh", json!({"reasoning_effort": "high"}), &[]),
        (&open, "none", Value::Null, &["reasoning_effort"]),
        (&config, "medium", json!({"reasoning_config": "high"}), &[]),
        (&Target::default(), "high", Value::Null, &["reasoning_effort"]),
    ] {
        check(
            &ask(json!({"reasoning_effort": word})),
            target,
            "/additionalModelRequestFields",
            expected,
            dropped,
        );
    }
    // The client's own words count more.
    let own = json!({"type": "enabled", "budget_tokens": 5000});
    let body = ask(json!({"thinking": own, "reasoning_effort": "low"}));
    check(&body, &budget, "/additionalModelRequestFields", json!({"thinking": own}), &["reasoning_effort"]);
    check(&body, &budget, "/inferenceConfig/maxTokens", json!(9096), &["reasoning_effort"]);
    let both = ask(json!({"additionalModelRequestFields": {"top_k": 3}, "reasoning_effort": "minimal"}));
    let expected = json!({"top_k": 3, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    check(&both, &budget, "/additionalModelRequestFields", expected, &[]);
}

#[test]
fn what_stands_beside_thinking_leaves_it_room() {
    let limited = |max_output| Target { facts: Facts { max_output, ..Facts::default() }, ..claude() };
    for (max_output, more, tokens, limit) in [
        (None, json!({}), 8192, 12288),
        (Some(64000), json!({}), 8192, 64000),
        (Some(64000), json!({"max_tokens": 10000}), 8192, 10000),
        (Some(64000), json!({"max_tokens": 8192}), 8192, 16384),
        (Some(64000), json!({"max_tokens": 100}), 8192, 8292),
        (Some(8192), json!({"max_tokens": 100}), 4096, 8192),
        (Some(8000), json!({"max_tokens": 100}), 4000, 8000),
    ] {
        let mut more = more;
        more["reasoning_effort"] = json!("medium");
        let (sent, _) = testing::sent(FORMAT, &ask(more.clone()), &limited(max_output));
        let told = (
            &sent["additionalModelRequestFields"]["thinking"]["budget_tokens"],
            &sent["inferenceConfig"]["maxTokens"],
        );
        assert_eq!(told, (&json!(tokens), &json!(limit)), "{max_output:?} {more}");
    }
    // Too little to think at all.
    let body = ask(json!({"reasoning_effort": "low", "max_tokens": 10}));
    check(&body, &limited(Some(1000)), "/additionalModelRequestFields", Value::Null, &["reasoning_effort"]);
    for (more, expected, dropped) in [
        (json!({"temperature": 1, "top_p": 0.99}), json!({"topP": 0.99}), &[] as &[&str]),
        (json!({"temperature": 0.2, "top_p": 0.5}), json!({}), &["temperature", "top_p"]),
    ] {
        let mut more = more;
        more["reasoning_effort"] = json!("minimal");
        let mut expected = expected;
        expected["maxTokens"] = json!(1024 + 4096);
        check(&ask(more), &claude(), "/inferenceConfig", expected, dropped);
    }
    let nova = Quirks { max_effort_models: globs(), ..Quirks::default() };
    let body = ask(json!({"reasoning_effort": "high", "max_tokens": 9, "temperature": 0.1, "stop": "x"}));
    let target = Target { quirks: nova, ..Target::default() };
    let (sent, mut dropped) = testing::sent(FORMAT, &body, &target);
    dropped.sort();
    assert_eq!(
        (&sent["inferenceConfig"], dropped),
        (&json!({"stopSequences": ["x"]}), vec!["max_tokens".to_owned(), "temperature".to_owned()])
    );
}

#[test]
fn every_field_has_its_row() {
    for field in crate::chat::fields::FIELDS.iter().filter(|field| !field.ours) {
        assert!(FORMAT.handling(field.name).is_some(), "{}", field.name);
    }
}

#[test]
fn the_row_drops_what_it_says() {
    let drop_params = ["temperature", "tools", "stop", "response_format"].map(str::to_owned).to_vec();
    let target = Target { quirks: Quirks { drop_params, ..Quirks::default() }, ..Target::default() };
    let body = ask(json!({"temperature": 0.5, "tools": [tool("f")], "stop": "x"}));
    let (sent, dropped) = testing::sent(FORMAT, &body, &target);
    assert_eq!(sent, json!({"messages": [{"role": "user", "content": [{"text": "q"}]}]}));
    assert_eq!(dropped, ["temperature", "tools", "stop"]);
}
