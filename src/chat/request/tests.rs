use super::*;

fn refusal(body: &str) -> (String, String) {
    let error = parse(body.as_bytes()).expect_err(body);
    assert_eq!(error.class().status, 400, "{body}");
    (error.param().unwrap_or("").to_owned(), error.code().unwrap_or("").to_owned())
}

fn with(fields: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{fields}}}"#)
}

#[test]
fn the_summary_says_what_routing_needs() {
    let body = with(
        r#","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":9,
        "n":2,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"temperature":null,
        "response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}},"reasoning_effort":"high",
        "free_models_only":true,"fallbacks":["a/b"],"unknown":{"kept":1e400}"#,
    );
    let request = parse(body.as_bytes()).unwrap();
    assert!(request.stream && request.include_usage && request.free_only);
    assert_eq!((request.n, request.max_output, request.effort), (2, Some(9), Some(Effort::High)));
    assert!(request.uses.tools && request.uses.json_schema && request.uses.reasoning && !request.uses.images);
    assert_eq!(
        (request.fallbacks.as_slice(), request.nulls.as_slice()),
        (["a/b".to_owned()].as_slice(), ["temperature"].as_slice())
    );
}

#[test]
fn parts_of_every_kind_are_seen() {
    let body = r#"{"model":"m","messages":[{"role":"developer","content":"d"},{"role":"user","content":[
        {"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},
        {"type":"input_audio","input_audio":{"data":"","format":"wav"}},{"type":"file","file":{"file_id":"f"}},
        {"type":"video_url","video_url":{"url":"x"}}]},
        {"role":"assistant","content":null,"reasoning":"r","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"1","content":"ok"}]}"#;
    let request = parse(body.as_bytes()).unwrap();
    assert!(request.uses.images && request.uses.audio && request.uses.files);
    assert!(request.developer_role && request.reasoning_back);
}

#[test]
fn a_complaint_names_the_path_of_the_field() {
    for (body, param) in [
        (r#"{"messages":[]}"#.to_owned(), "messages"),
        (r#"{"messages":[{"role":"user","content":"x"}]}"#.to_owned(), "model"),
        (r#"{"model":"m"}"#.to_owned(), "messages"),
        (r#"{"model":5,"messages":[{"role":"user"}]}"#.to_owned(), "model"),
        (r#"{"model":null,"messages":[{"role":"user"}]}"#.to_owned(), "model"),
        (r#"{"model":"m","messages":[{"role":"king","content":"x"}]}"#.to_owned(), "messages[0].role"),
        (r#"{"model":"m","messages":[{"role":"user","content":5}]}"#.to_owned(), "messages[0].content"),
        (r#"{"model":"m","messages":[{"role":"tool","content":"x","tool_call_id":5}]}"#.to_owned(), "messages[0].tool_call_id"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"user","content":"a"},{"role":"user","content":[{"type":"image_url","image_url":"x"}]}]}"#.to_owned(),
            "messages[2].content[0].image_url",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}"#.to_owned(),
            "messages[0].content[0].image_url",
        ),
        (r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#.to_owned(), "messages[0].content[0].text"),
        (with(r#","temperature":"hot""#), "temperature"),
        (with(r#","max_tokens":0"#), "max_tokens"),
        (with(r#","max_tokens":-1"#), "max_tokens"),
        (with(r#","max_tokens":1.5"#), "max_tokens"),
        (with(r#","n":99999999999999999999999"#), "n"),
        (with(r#","stream":"yes""#), "stream"),
        (with(r#","stop":["a","b","c","d","e"]"#), "stop"),
        (with(r#","stop":["a",1]"#), "stop[1]"),
        (with(r#","tools":[{"type":"function"}]"#), "tools[0].function"),
        (with(r#","tools":[{"type":"function","function":{}}]"#), "tools[0].function"),
        (with(r#","tool_choice":"sometimes""#), "tool_choice"),
        (with(r#","reasoning_effort":"extreme""#), "reasoning_effort"),
        (with(r#","response_format":{"type":"json_schema"}"#), "response_format.json_schema"),
        (with(r#","stream_options":{"include_usage":1}"#), "stream_options.include_usage"),
        (with(r#","fallbacks":["a",2]"#), "fallbacks[1]"),
        (with(r#","model":"other""#), "model"),
    ] {
        assert_eq!(refusal(&body).0, param, "{body}");
    }
}

#[test]
fn broken_json_says_where() {
    for body in ["", "{", "[]", "{}x", "\"x\"", r#"{"model":"m",}"#] {
        let error = parse(body.as_bytes()).expect_err(body);
        assert_eq!(error.code(), Some("invalid_json"), "{body}: {error}");
    }
    let error = parse(b"{\n\"model\":\"\xff\"}").unwrap_err();
    assert!(error.to_string().contains("line 2 column 10"), "{error}");
}

#[test]
fn deep_nesting_is_answered_quickly() {
    let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(deep.as_bytes()).is_err());
}

#[test]
fn routing_is_one_of_its_words_and_a_session_is_the_cache_key_before_the_user() {
    let parsed = |fields: &str| {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{fields}}}"#);
        parse(body.as_bytes())
    };
    assert_eq!(parsed("").unwrap().routing, None);
    for word in Routing::WORDS {
        assert_eq!(parsed(&format!(r#","routing":"{word}""#)).unwrap().routing, Routing::parse(word));
    }
    let Err(Error::InvalidRequest { param, .. }) = parsed(r#","routing":"cheap""#) else { panic!("refused") };
    assert_eq!(param.as_deref(), Some("routing"));
    for fields in [r#","user":"u","prompt_cache_key":"k""#, r#","prompt_cache_key":"k","user":"u""#] {
        assert_eq!(parsed(fields).unwrap().affinity.as_deref(), Some("k"));
    }
    assert_eq!(parsed(r#","user":"u""#).unwrap().affinity.as_deref(), Some("u"));
}
