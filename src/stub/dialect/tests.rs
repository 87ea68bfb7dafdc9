//! Each format refuses what its API would, and says an answer in its words.

use serde_json::{Value, json};

use super::*;
use crate::stub::behaviour::Behaviour;
use crate::stub::events::{Events, Step};
use crate::stub::request::Function;

fn asked(dialect: Dialect) -> Asked<'static> {
    Asked { dialect, model: "", stream: false }
}

fn refusal(dialect: Dialect, body: &Value) -> Option<String> {
    dialect.parse(&asked(dialect), body.to_string().as_bytes()).err().map(|fault| fault.message)
}

#[test]
fn paths_name_format_model_and_stream() {
    for (path, dialect, model, stream) in [
        ("/v1/messages", Dialect::Anthropic, "", false),
        ("/v1beta/models/drip%3Aevents=2:streamGenerateContent", Dialect::Gemini, "drip:events=2", true),
        ("/model/us.echo%2Fa/converse", Dialect::Converse, "us.echo/a", false),
        ("/v2/chat", Dialect::Cohere, "", false),
    ] {
        let asked = Asked::of(path).unwrap();
        assert_eq!((asked.dialect, asked.path_model().as_str(), asked.stream), (dialect, model, stream));
    }
    for path in ["/v1/complete", "/model/m/invoke", "/v1beta/models/m:countTokens"] {
        assert!(Asked::of(path).is_none(), "{path}");
    }
}

#[test]
fn anthropic_refuses_broken_pairs_signatures_roles_and_budgets() {
    let call = json!({"type": "tool_use", "id": "c1", "name": "f", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "c1", "content": "1"});
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": rules::sign("hm")});
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let ask = |messages: Value, more: Value| {
        let mut body = json!({"model": "echo", "max_tokens": 2000, "messages": messages, "tools": tools});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refusal(Dialect::Anthropic, &body)
    };
    let user = |content: Value| json!({"role": "user", "content": content});
    let model = |content: Value| json!({"role": "assistant", "content": content});
    let good = json!([user(json!("a")), model(json!([thought, call])), user(json!([result]))]);
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    assert_eq!(ask(good, thinking.clone()), None);
    let forged = json!({"type": "thinking", "thinking": "hm", "signature": "x"});
    for (messages, more, says) in [
        (json!([user(json!("a")), user(json!("b"))]), json!({}), "alternate"),
        (
            json!([user(json!("a")), model(json!([call])), user(json!("b"))]),
            json!({}),
            "without `tool_result`",
        ),
        (json!([user(json!([result]))]), json!({}), "unexpected `tool_use_id`"),
        (
            json!([user(json!("a")), model(json!([forged, call])), user(json!([result]))]),
            json!({}),
            "Invalid `signature`",
        ),
        (
            json!([user(json!("a")), model(json!([call])), user(json!([result]))]),
            thinking,
            "Expected `thinking`",
        ),
        (json!([user(json!(""))]), json!({}), "non-empty"),
        (
            json!([user(json!("a"))]),
            json!({"thinking": {"type": "enabled", "budget_tokens": 4000}}),
            "greater than",
        ),
        (json!([user(json!("a"))]), json!({"seed": 1}), "Extra inputs"),
    ] {
        let refused = ask(messages.clone(), more).unwrap_or_default();
        assert!(refused.contains(says), "{messages}: {refused}");
    }
}

#[test]
fn gemini_refuses_calls_without_signature_or_result() {
    let said = json!({"role": "user", "parts": [{"text": "a"}]});
    let call = |signature: Value| json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": signature}]});
    let result =
        json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "1"}}}]});
    let signed = json!(rules::sign("f{}"));
    let ask = |contents: Value| refusal(Dialect::Gemini, &json!({"contents": contents}));
    assert_eq!(ask(json!([said, call(signed.clone()), result])), None);
    assert!(ask(json!([said, call(json!("x")), result])).unwrap().contains("thought_signature"));
    assert!(ask(json!([said, call(signed), said])).unwrap().contains("number of function response"));
    let schema = json!({"contents": [said], "generationConfig": {"responseSchema": {"$ref": "#/x"}}});
    assert!(refusal(Dialect::Gemini, &schema).unwrap().contains("$ref"));
}

#[test]
fn converse_responses_and_cohere_refuse_broken_pairs() {
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "f", "input": {}}}]},
        {"role": "user", "content": [{"text": "b"}]}]});
    assert!(refusal(Dialect::Converse, &converse).unwrap().contains("c1"));
    let call = json!({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"});
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"});
    for (input, says) in [
        (json!([{"role": "user", "content": "a"}, call]), "No tool output found"),
        (json!([{"type": "function_call_output", "call_id": "c2", "output": "1"}]), "No tool call found"),
        (json!([thought]), "required following item"),
        (json!([thought, call]), "could not be verified"),
    ] {
        assert!(
            refusal(Dialect::Responses, &json!({"model": "m", "input": input})).unwrap().contains(says),
            "{says}"
        );
    }
    let cohere = json!({"model": "m", "messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "user", "content": "b"}]});
    assert!(refusal(Dialect::Cohere, &cohere).unwrap().contains("c1"));
}

#[test]
fn every_format_says_all_of_an_answer_whole_and_streamed() {
    let tool = Function {
        name: "f".into(),
        parameters: json!({"type": "object", "properties": {"a": {"type": "string"}}}),
    };
    let request = Request {
        text: "hi there".into(),
        n: 1,
        include_usage: true,
        tools: vec![tool],
        ..Request::default()
    };
    let facts = Facts { id: "chatcmpl-1".into(), created: 7, model: "m".into() };
    for dialect in
        [Dialect::Anthropic, Dialect::Gemini, Dialect::Converse, Dialect::Responses, Dialect::Cohere]
    {
        for behaviour in [Behaviour::Reasoning, Behaviour::Agent(1)] {
            let answer = Answer::of(&request, behaviour);
            let whole = dialect.whole(&request, answer.clone(), &facts);
            let events = Events::new(dialect, &request, behaviour, answer.clone(), &facts);
            let sent = events.filter_map(|step| match step {
                Step::Send(bytes) => Some(bytes),
                _ => None,
            });
            let streamed = sent.collect::<Vec<_>>().concat();
            for said in [String::from_utf8(whole).unwrap(), String::from_utf8_lossy(&streamed).into_owned()] {
                assert!(said.contains("The user said") || said.contains("The "), "{dialect:?}: {said}");
                for call in &answer.calls {
                    assert!(said.contains(&call.name), "{dialect:?}: {said}");
                }
                assert!(said.to_lowercase().contains("token"), "{dialect:?} has usage: {said}");
            }
        }
    }
}
