//! Reading a request as values.

use super::*;
use crate::chat::request;

fn with<T>(body: &str, look: impl FnOnce(Conversation<'_>) -> T) -> T {
    let parsed = request::parse(body.as_bytes()).unwrap();
    look(Conversation::read(&parsed, body.as_bytes()).unwrap())
}

#[test]
fn every_kind_of_message_is_read() {
    let body = r#"{"model":"m","messages":[
        {"role":"developer","content":"be \"brief\""},
        {"role":"user","content":[{"type":"text","text":"look","cache_control":{"type":"ephemeral"}},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"low"}},
            {"type":"image_url","image_url":"https://x/y.png"},
            {"type":"input_audio","input_audio":{"data":"QQ==","format":"mp3"}},
            {"type":"file","file":{"file_data":"QUJD","filename":"a.pdf"}},
            {"type":"video_url","video_url":{"url":"https://x/v"}}]},
        {"role":"assistant","content":null,"reasoning":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}],
         "reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"s","format":"x","after_text":3}]},
        {"role":"tool","tool_call_id":"c1","content":"42"},
        {"role":"assistant","function_call":{"name":"g","arguments":""}},
        {"role":"function","name":"g","content":"1"}]}"#;
    with(body, |conversation| {
        let [developer, user, assistant, tool, old, result] = conversation.messages.as_slice() else {
            panic!("six messages")
        };
        assert_eq!((developer.role, developer.text().as_str()), (Role::Developer, "be \"brief\""));
        assert_eq!(user.parts[0].cache_control.unwrap().get(), r#"{"type":"ephemeral"}"#);
        let Body::Image(image) = &user.parts[1].body else { panic!("an image") };
        assert_eq!(image.data_url(), Some(("image/png", "QUJD")));
        assert!(matches!(&user.parts[3].body, Body::Audio { format, .. } if format == "mp3"));
        let Body::File(file) = &user.parts[4].body else { panic!("a file") };
        assert_eq!(file.inline(), Some(("application/pdf", "QUJD")));
        assert!(matches!(&user.parts[5].body, Body::Other { kind } if kind == "video_url"));
        assert_eq!(assistant.tool_calls[0].object().unwrap().get(), r#"{"a":1}"#);
        assert_eq!(assistant.details[0].after_text, Some(3));
        assert!(assistant.parts.is_empty() && assistant.details[0].is_of("x"));
        assert_eq!(tool.tool_call_id.as_deref(), Some("c1"));
        assert_eq!(old.tool_calls[0].object().unwrap().get(), "{}");
        assert_eq!((result.role, &result.tool_call_id), (Role::Tool, &Some(old.tool_calls[0].id.clone())));
        assert_eq!(conversation.tool_name("c1", 3), Some("f"));
        assert_eq!(conversation.tool_name("c1", 2), None);
        assert_eq!(
            conversation.image_urls(),
            [("messages[1].content[2].image_url".to_owned(), "https://x/y.png")]
        );
    });
}

#[test]
fn images_given_by_address_are_told_once_each_with_their_places() {
    let body = r#"{"model":"m","messages":[
        {"role":"system","content":"x"},
        {"role":"user","content":[
            {"type":"image_url","image_url":{"url":"data:image/png,raw"}},
            {"type":"image_url","image_url":{"url":"HTTPS://x/a\u002epng"}},
            {"type":"image_url","image_url":"https://x/b"},
            {"type":"text","text":"https://x/c"}]},
        {"role":"tool","tool_call_id":"c","content":[
            {"type":"image_url","image_url":{"url":"https://x/b"}},
            {"type":"image_url","image_url":{"url":"https://x/d"}}]}]}"#;
    with(body, |conversation| {
        let found = conversation.image_urls();
        let told: Vec<(&str, &str)> = found.iter().map(|(path, url)| (path.as_str(), *url)).collect();
        let expected = [
            ("messages[1].content[1].image_url", "HTTPS://x/a.png"),
            ("messages[1].content[2].image_url", "https://x/b"),
            ("messages[2].content[1].image_url", "https://x/d"),
        ];
        assert_eq!(told, expected);
    });
}

#[test]
fn tools_choices_and_forms_are_read() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stop":"END","top_p":null,"seed":7,
        "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"},"strict":true}},{"type":"web_search"}],
        "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,
        "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}}"#;
    with(body, |conversation| {
        assert!(matches!(&conversation.tools[0], Tool::Function { strict: Some(true), .. }));
        assert!(matches!(&conversation.tools[1], Tool::Other { kind, .. } if kind == "web_search"));
        assert_eq!(conversation.tool_choice, ToolChoice::Function("f".into()));
        assert!(conversation.tool_choice.forces());
        assert_eq!(conversation.parallel_tool_calls, Some(false));
        assert_eq!(conversation.stop, ["END"]);
        assert_eq!(conversation.number("seed").unwrap().as_u64(), Some(7));
        assert!(conversation.field("top_p").is_none());
        assert!(conversation.given().all(|name| name != "top_p"));
        let ResponseFormat::JsonSchema { schema: Some(schema), .. } = conversation.response_format else {
            panic!("a schema")
        };
        assert_eq!(schema.get(), r#"{"type":"object"}"#);
    });
}

#[test]
fn what_cannot_be_read_is_named_by_its_path() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x","detail":5}}]}]}"#;
    let parsed = request::parse(body.as_bytes());
    let error =
        parsed.and_then(|parsed| Conversation::read(&parsed, body.as_bytes()).map(|_| ())).unwrap_err();
    assert!(error.param().unwrap().starts_with("messages[0].content"), "{error:?}");
}
