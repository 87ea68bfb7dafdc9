use super::*;
use crate::chat::request;

fn encode(body: &str, quirks: &Quirks) -> (String, Vec<String>) {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let parsed = request::parse(&body).unwrap();
    let encoded = encode_request(&body, &parsed, "m", quirks, false).unwrap();
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

#[test]
fn each_touch_is_the_documented_one() {
    let quirks = |change: fn(&mut Quirks)| {
        let mut quirks = Quirks::default();
        change(&mut quirks);
        quirks
    };
    let limit = |field| move |q: &mut Quirks| q.max_tokens_field = field;
    let cases: Vec<(Quirks, &str, &str, &[&str])> = vec![
        (
            Quirks::default(),
            ",\"stream\":true",
            ",\"stream\":true ,\"stream_options\":{\"include_usage\":true}",
            &[],
        ),
        (
            Quirks::default(),
            ",\"stream\":true,\"stream_options\":{\"x\":1}",
            ",\"stream\":true,\"stream_options\":{\"x\":1,\"include_usage\":true}",
            &[],
        ),
        (
            Quirks::default(),
            ",\"stream\":true,\"stream_options\":null",
            ",\"stream\":true,\"stream_options\":{\"include_usage\":true}",
            &[],
        ),
        (
            quirks(|q| q.stream_options = false),
            ",\"stream\":true,\"stream_options\":{}",
            ",\"stream\":true",
            &[],
        ),
        (Quirks::default(), ",\"temperature\":null,\"seed\":1", ",\"seed\":1", &[]),
        (Quirks::default(), ",\"free_models_only\":true,\"fallbacks\":[],\"seed\":1", ",\"seed\":1", &[]),
        (
            {
                let mut q = Quirks::default();
                limit(MaxTokensField::MaxTokens)(&mut q);
                q
            },
            ",\"max_completion_tokens\":5",
            ",\"max_tokens\":5",
            &[],
        ),
        (
            {
                let mut q = Quirks::default();
                limit(MaxTokensField::MaxCompletionTokens)(&mut q);
                q
            },
            ",\"max_completion_tokens\":null,\"max_tokens\":5",
            ",\"max_completion_tokens\":5",
            &[],
        ),
        (
            quirks(|q| q.max_completion_tokens_models = vec!["m*".into()]),
            ",\"max_tokens\":5",
            ",\"max_completion_tokens\":5",
            &[],
        ),
        (
            quirks(|q| q.fixed_sampling_models = vec!["m".into()]),
            ",\"temperature\":0.5,\"top_p\":1",
            ",\"top_p\":1",
            &["temperature"],
        ),
        (
            quirks(|q| q.drop_params = vec!["logit_bias".into()]),
            ",\"logit_bias\":{},\"seed\":2",
            ",\"seed\":2",
            &["logit_bias"],
        ),
        (
            quirks(|q| drop(q.rename_params.insert("seed".into(), "random_seed".into()))),
            ",\"seed\":2",
            ",\"random_seed\":2",
            &[],
        ),
        (
            quirks(|q| q.tool_choice_required = Some("any".into())),
            ",\"tool_choice\":\"required\"",
            ",\"tool_choice\":\"any\"",
            &[],
        ),
        (
            quirks(|q| q.reasoning_effort = EffortStyle::None),
            ",\"reasoning_effort\":\"low\",\"seed\":1",
            ",\"seed\":1",
            &["reasoning_effort"],
        ),
        (
            quirks(|q| q.reasoning_effort = EffortStyle::EnableThinking),
            ",\"seed\":1,\"reasoning_effort\":\"none\"",
            ",\"seed\":1 ,\"enable_thinking\":false",
            &[],
        ),
    ];
    for (quirks, fields, expected, dropped) in cases {
        let (encoded, left_out) = encode(&body(fields), &quirks);
        let same = |text: &str| text.replace(' ', "");
        assert_eq!(same(&encoded), same(&body(expected)), "{fields}");
        assert_eq!(left_out, dropped, "{fields}");
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
    let body = Bytes::from(body(",\"logit_bias\":{}"));
    let parsed = request::parse(&body).unwrap();
    let quirks = Quirks { drop_params: vec!["logit_bias".into()], ..Quirks::default() };
    let error = encode_request(&body, &parsed, "m", &quirks, true).unwrap_err();
    assert_eq!((error.code(), error.param()), (Some("unsupported_parameter"), Some("logit_bias")));
}
