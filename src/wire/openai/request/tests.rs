use super::*;
use crate::wire::WireFormat;
use crate::wire::testing::{self, Target};

fn encode(body: &str, quirks: &Quirks) -> (String, Vec<String>) {
    let target = Target { quirks: quirks.clone(), ..Target::default() };
    let encoded = testing::encode(WireFormat::Openai, body, &target).unwrap();
    (String::from_utf8(encoded.body.to_vec()).unwrap(), encoded.dropped)
}

/// A request with one message and `fields`, spelled in an unusual way that must survive.
fn body(fields: &str) -> String {
    format!(
        "{{ \"model\" :\"m\", \"messages\": [ {{\"role\":\"user\",\"content\":\"h\\u00e9\"}} ]{fields} }}"
    )
}

#[test]
fn untouched_requests_keep_every_byte() {
    for fields in ["", ",\"temperature\":1.0e0,\"x\":[1,  2],\"user\":\"\\u0041\"", ",\"stream\":false"] {
        assert_eq!(encode(&body(fields), &Quirks::default()), (body(fields), vec![]));
    }
}

/// Quirks of a row as its file writes them, fields of a request, what goes upstream, what is named as dropped.
#[rustfmt::skip]
const TOUCHES: &[(&str, &str, &str, &[&str])] = &[
    ("{}", r#","stream":true"#, r#","stream":true,"stream_options":{"include_usage":true}"#, &[]),
    ("{}", r#","stream":true,"stream_options":{"x":1}"#, r#","stream":true,"stream_options":{"x":1,"include_usage":true}"#, &[]),
    ("{}", r#","stream":true,"stream_options":null"#, r#","stream":true,"stream_options":{"include_usage":true}"#, &[]),
    (r#"{"stream_options":false}"#, r#","stream":true,"stream_options":{}"#, r#","stream":true"#, &[]),
    ("{}", r#","temperature":null,"seed":1"#, r#","seed":1"#, &[]),
    ("{}", r#","free_models_only":true,"fallbacks":[],"seed":1"#, r#","seed":1"#, &[]),
    (r#"{"max_tokens_field":"max_tokens"}"#, r#","max_completion_tokens":5"#, r#","max_tokens":5"#, &[]),
    (r#"{"max_tokens_field":"max_completion_tokens"}"#, r#","max_completion_tokens":null,"max_tokens":5"#, r#","max_completion_tokens":5"#, &[]),
    (r#"{"max_completion_tokens_models":["m*"]}"#, r#","max_tokens":5"#, r#","max_completion_tokens":5"#, &[]),
    (r#"{"fixed_sampling_models":["m"]}"#, r#","temperature":0.5,"top_p":1"#, r#","top_p":1"#, &["temperature"]),
    (r#"{"drop_params":["logit_bias"]}"#, r#","logit_bias":{},"seed":2"#, r#","seed":2"#, &["logit_bias"]),
    (r#"{"rename_params":{"seed":"random_seed"}}"#, r#","seed":2"#, r#","random_seed":2"#, &[]),
    (r#"{"tool_choice_required":"any"}"#, r#","tool_choice":"required""#, r#","tool_choice":"any""#, &[]),
    (r#"{"bare_json_schema":true}"#, r#","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"a":1.0e1},"strict":true}}"#, r#","response_format":{"type":"json_schema","json_schema":{"schema":{"a":1.0e1}}}"#, &[]),
    (r#"{"reasoning_effort":"none"}"#, r#","reasoning_effort":"low","seed":1"#, r#","seed":1"#, &["reasoning_effort"]),
    (r#"{"reasoning_effort":"enable_thinking"}"#, r#","seed":1,"reasoning_effort":"none""#, r#","seed":1,"enable_thinking":false"#, &[]),
];

#[test]
fn each_touch_is_the_documented_one() {
    for (quirks, fields, expected, dropped) in TOUCHES {
        let (encoded, left_out) = encode(&body(fields), &serde_json::from_str(quirks).unwrap());
        let same = |text: &str| text.replace(' ', "");
        assert_eq!(same(&encoded), same(&body(expected)), "{quirks} {fields}");
        assert_eq!(left_out, *dropped, "{quirks} {fields}");
    }
}

#[test]
fn messages_change_only_where_the_row_says() {
    let text = r#"{"model":"m","messages":[{"role":"developer", "content":"d"},{"role":"assistant","content":"a","reasoning":"r","reasoning_details":[1]}]}"#;
    let system = text.replace("\"developer\"", "\"system\"");
    assert_eq!(encode(text, &Quirks::default()).0, system);
    let remove = Quirks { reasoning_back: ReasoningBack::Remove, developer_role: true, ..Quirks::default() };
    assert_eq!(encode(text, &remove).0, text.replace(r#","reasoning":"r","reasoning_details":[1]"#, ""));
    let rename =
        Quirks { reasoning_back: ReasoningBack::ReasoningContent, developer_role: true, ..Quirks::default() };
    let expected =
        text.replace(r#","reasoning_details":[1]"#, "").replace("\"reasoning\"", "\"reasoning_content\"");
    assert_eq!(encode(text, &rename).0, expected);
}

#[test]
fn strict_refuses_instead_of_dropping() {
    let quirks = Quirks { drop_params: vec!["logit_bias".into()], ..Quirks::default() };
    let target = Target { quirks, strict: true, ..Target::default() };
    let error = testing::encode(WireFormat::Openai, &body(",\"logit_bias\":{}"), &target).unwrap_err();
    assert_eq!((error.code(), error.param()), (Some("unsupported_parameter"), Some("logit_bias")));
}
