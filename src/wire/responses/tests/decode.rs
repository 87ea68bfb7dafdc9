//! What an answer becomes, rule by rule, whole and streamed.

use serde_json::{Value, json};

use crate::wire::recorded::seen::Seen;
use crate::wire::testing;
use crate::wire::{DecodeError, WireFormat};

fn whole(output: Value, more: Value) -> Result<Value, DecodeError> {
    let mut body = json!({"id": "resp_1", "status": "completed", "output": output,
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 17}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    testing::whole(WireFormat::Responses, body.to_string().as_bytes())
}

/// A stream of events, `response.` left out of their types.
fn events(events: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        let mut event = event.clone();
        let kind = event["type"].as_str().unwrap().to_owned();
        if kind != "error" {
            event["type"] = json!(format!("response.{kind}"));
        }
        out.extend_from_slice(format!("event: x\ndata: {event}\n\n").as_bytes());
    }
    out
}

fn streamed(list: &[Value]) -> (Vec<Value>, Result<(), DecodeError>) {
    testing::stream(WireFormat::Responses, "text/event-stream", &[&events(list)])
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn function(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "f", "arguments": arguments})
}

fn completed(output: Value) -> Value {
    json!({"type": "completed", "response": {"id": "resp_1", "status": "completed", "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}})
}

#[test]
fn a_whole_answer_has_everything_in_its_place() {
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "E=",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]});
    let reply = whole(
        json!([
            reasoning, message("zwölf"), {"type": "compaction", "id": "x"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "F="}, function("c1", "{\"a\":1}"),
            {"type": "custom_tool_call", "call_id": "c2", "name": "sh", "input": "ls"}]),
        json!({"service_tier": "flex"}),
    )
    .unwrap();
    let choice = &reply["choices"][0];
    let message = &choice["message"];
    assert_eq!((reply["id"].as_str(), reply["service_tier"].as_str()), (Some("resp_1"), Some("flex")));
    assert_eq!((&message["content"], &message["reasoning"]), (&json!("zwölf"), &json!("ab")));
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        message["tool_calls"],
        json!([
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "sh", "input": "ls"}}])
    );
    let format = "openai-responses-v1";
    assert_eq!(
        message["reasoning_details"],
        json!([
            {"type": "reasoning.summary", "summary": "a", "id": "rs_1", "format": format, "index": 0},
            {"type": "reasoning.summary", "summary": "b", "id": "rs_1", "format": format, "index": 1},
            {"type": "reasoning.encrypted", "data": "E=", "id": "rs_1", "format": format, "index": 2},
            {"type": "reasoning.encrypted", "data": "F=", "id": "rs_2", "format": format, "index": 3, "after_text": 5}])
    );
    let usage = &reply["usage"];
    assert_eq!(
        [
            &usage["prompt_tokens"],
            &usage["completion_tokens"],
            &usage["total_tokens"],
            &usage["reasoning_tokens"]
        ],
        [10, 7, 17, 3]
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 4);
}

#[test]
fn reasoning_that_nobody_could_believe_is_text_alone() {
    let bare = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"}]});
    let reply = whole(json!([bare, message("x")]), json!({})).unwrap();
    assert_eq!(reply["choices"][0]["message"]["reasoning"], "a");
    assert!(reply["choices"][0]["message"].get("reasoning_details").is_none());
}

#[test]
fn annotations_take_chats_shape_and_count_from_the_answers_start() {
    let text = |text: &str, annotations: Value| json!({"type": "output_text", "text": text, "annotations": annotations});
    let content = json!([
        text("äb ", json!([])),
        text(
            "cd",
            json!([
            {"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0, "end_index": 2},
            {"type": "file_citation", "file_id": "f", "filename": "n", "index": 1}])
        ),
    ]);
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": content});
    let expected = json!([
        {"type": "url_citation", "url_citation": {"url": "https://x", "title": "t", "start_index": 3, "end_index": 5}},
        {"type": "file_citation", "file_citation": {"file_id": "f", "filename": "n", "index": 4}}]);
    let reply = whole(json!([item]), json!({})).unwrap();
    assert_eq!(reply["choices"][0]["message"]["annotations"], expected);
    // Streamed: the first comes as an event of its own, the second only with the part that is done.
    let (chunks, ended) = streamed(&[
        json!({"type": "output_text.delta", "output_index": 0, "content_index": 0, "delta": "äb "}),
        json!({"type": "output_text.delta", "output_index": 0, "content_index": 1, "delta": "cd"}),
        json!({"type": "output_text.annotation.added", "output_index": 0, "content_index": 1, "annotation": content[1]["annotations"][0]}),
        json!({"type": "output_item.done", "output_index": 0, "item": item}),
        completed(json!([item])),
    ]);
    let seen = Seen::streamed(&chunks);
    assert_eq!((ended, seen.choices[0].text.as_str()), (Ok(()), "äb cd"));
    assert_eq!(Value::from(seen.choices[0].annotations.clone()), expected);
}

#[test]
fn what_the_vendors_own_tools_did_is_told_and_is_no_call() {
    let search = |kind: &str| json!({"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": kind, "query": "q"}});
    let output = json!([
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E="},
        search("search"), search("open_page"),
        {"type": "code_interpreter_call", "id": "ci", "code": "1", "outputs": []},
        {"type": "mcp_call", "id": "mcp", "name": "n", "arguments": "{}", "output": "o"},
        {"type": "image_generation_call", "id": "ig", "result": "/9j/AAA=", "status": "completed"},
        message("done")]);
    let reply = whole(output.clone(), json!({})).unwrap();
    let (choice, message) = (&reply["choices"][0], &reply["choices"][0]["message"]);
    assert_eq!((choice["finish_reason"].as_str(), message.get("tool_calls")), (Some("stop"), None));
    assert_eq!(reply["server_tool_calls"].as_array().unwrap().len(), 4);
    assert_eq!(reply["usage"]["num_search_queries"], 1);
    assert_eq!(message["images"][0]["image_url"]["url"], "data:image/jpeg;base64,/9j/AAA=");
    let kinds = |details: &Value| -> Vec<String> {
        details.as_array().unwrap().iter().map(|detail| detail["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&message["reasoning_details"]), ["rs_1", "ws", "ws", "ci", "mcp"]);
    let list: Vec<Value> = output
        .as_array()
        .unwrap()
        .iter()
        .zip(0..)
        .map(|(item, at)| json!({"type": "output_item.done", "output_index": at, "item": item}))
        .chain([completed(output.clone())])
        .collect();
    let (chunks, ended) = streamed(&list);
    let seen = Seen::streamed(&chunks);
    assert_eq!((ended, seen.choices[0].text.as_str(), seen.choices[0].images.len()), (Ok(()), "done", 1));
    assert_eq!(kinds(&Value::from(seen.choices[0].details.clone())), ["rs_1", "ws", "ws", "ci", "mcp"]);
    assert!(
        chunks
            .iter()
            .any(|chunk| chunk["server_tool_calls"].as_array().is_some_and(|calls| calls.len() == 4))
    );
}

#[test]
fn endings_are_the_vendors_and_never_made_up() {
    let text = json!([message("a")]);
    for (status, more, expected) in [
        ("completed", json!({}), Ok(Some("stop"))),
        ("incomplete", json!({"reason": "max_output_tokens"}), Ok(Some("length"))),
        ("incomplete", json!({"reason": "content_filter"}), Ok(Some("content_filter"))),
        ("incomplete", json!({"reason": "who_knows"}), Ok(None)),
        ("in_progress", json!({}), Err(())),
        ("queued", json!({}), Err(())),
        ("cancelled", json!({}), Err(())),
        ("failed", json!({}), Err(())),
    ] {
        let reply = whole(text.clone(), json!({"status": status, "incomplete_details": more}));
        let reason = reply.as_ref().map(|reply| reply["choices"][0]["finish_reason"].as_str());
        assert_eq!(reason.map_err(|_| ()), expected, "{status} {more}");
        if let Ok(reply) = &reply {
            let native = reply["choices"][0].get("native_finish_reason");
            assert_eq!(native, expected.unwrap().is_none().then(|| json!("incomplete:who_knows")).as_ref());
        }
    }
}

#[test]
fn failures_inside_a_200_are_errors_with_the_status_they_stand_for() {
    for (code, status) in [
        ("server_error", 500),
        ("rate_limit_exceeded", 429),
        ("insufficient_quota", 429),
        ("server_is_overloaded", 503),
        ("invalid_prompt", 400),
        ("invalid_image_url", 400),
        ("strange", 0),
    ] {
        let error = json!({"code": code, "message": "because"});
        let failed = json!({"status": "failed", "error": error});
        let outcomes = [
            whole(json!([]), failed.clone()).unwrap_err(),
            streamed(&[json!({"type": "failed", "response": failed})]).1.unwrap_err(),
            streamed(&[json!({"type": "error", "error": error})]).1.unwrap_err(),
            streamed(&[json!({"type": "error", "code": code, "message": "because", "param": null})])
                .1
                .unwrap_err(),
        ];
        for outcome in outcomes {
            let DecodeError::Fault(fault) = outcome else { panic!("{outcome:?}") };
            assert_eq!((fault.status, fault.message.as_str()), (status, "because"), "{code}");
        }
    }
}

#[test]
fn what_is_no_response_is_an_error() {
    for body in [
        r#"[]"#,
        r#"{}"#,
        r#"{"choices":[]}"#,
        r#"{"error":{"message":"m"}}"#,
        r#"{"output":[],"status":"completed","usage":3}"#,
        r#"{"output":[3],"status":"completed"}"#,
        r#"{"output":[]}"#,
        "<html>",
    ] {
        let outcome = testing::whole(WireFormat::Responses, body.as_bytes());
        match body {
            // An answer without a word is one, if its vendor says that it is complete.
            _ if body.contains("usage") => assert!(outcome.is_ok(), "{body}"),
            _ => assert!(outcome.is_err(), "{body}"),
        }
    }
}

#[test]
fn arguments_are_told_once_however_they_come() {
    let added = json!({"type": "output_item.added", "output_index": 0, "item": function("c1", "")});
    let delta = |text: &str| json!({"type": "function_call_arguments.delta", "output_index": 0, "item_id": "fc_c1", "delta": text});
    let whole = json!({"type": "function_call_arguments.done", "output_index": 0, "item_id": "fc_c1", "arguments": "{\"a\":1}"});
    let done = json!({"type": "output_item.done", "output_index": 0, "item": function("c1", "{\"a\":1}")});
    let halves = [delta("{\"a\""), delta(":1}")];
    let end = completed(json!([function("c1", "{\"a\":1}")]));
    let unnamed = json!({"type": "output_item.added", "output_index": 0, "item": {"type": "function_call", "id": "fc_c1"}});
    let flows: Vec<Vec<&Value>> = vec![
        vec![&added, &halves[0], &halves[1], &whole, &done],
        vec![&added, &whole, &done],
        vec![&added, &done],
        vec![&done],
        vec![&added],
        vec![],
        vec![&unnamed, &halves[0], &halves[1], &done],
        vec![&halves[0], &halves[1], &done],
        vec![&added, &done, &done, &whole],
    ];
    for flow in flows {
        let list: Vec<Value> = flow.iter().copied().chain([&end]).cloned().collect();
        let (chunks, ended) = streamed(&list);
        let seen = Seen::streamed(&chunks);
        assert_eq!((ended, seen.broken.len()), (Ok(()), 0), "{flow:?}");
        let [call] = seen.choices[0].calls.as_slice() else { panic!("one call: {flow:?}") };
        assert_eq!(
            (call.id.as_str(), call.name.as_str(), call.arguments.as_str()),
            ("c1", "f", "{\"a\":1}"),
            "{flow:?}"
        );
        assert_eq!(seen.choices[0].finish.as_deref(), Some("tool_calls"));
    }
}

#[test]
fn text_refusals_and_reasoning_are_told_once_however_they_come() {
    let item = json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": "ab"}, {"type": "refusal", "refusal": "no"}]});
    let thought = json!({"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}], "content": null});
    let delta = |kind: &str, at: u64, part: u64, text: &str| json!({"type": kind, "output_index": at, "content_index": part, "delta": text});
    let said = [
        delta("reasoning_summary_text.delta", 0, 0, "h"),
        delta("reasoning_summary_text.delta", 0, 0, "m"),
        json!({"type": "output_item.done", "output_index": 0, "item": thought}),
        delta("output_text.delta", 1, 0, "a"),
        delta("output_text.delta", 1, 0, "b"),
        json!({"type": "output_text.done", "output_index": 1, "content_index": 0, "text": "ab"}),
        delta("refusal.delta", 1, 1, "no"),
        json!({"type": "refusal.done", "output_index": 1, "content_index": 1, "refusal": "no"}),
        json!({"type": "output_item.done", "output_index": 1, "item": item}),
    ];
    let end = completed(json!([thought, item]));
    // All events; without the deltas; the closed items alone; the end alone.
    let without = |dropped: &[&str]| -> Vec<Value> {
        let stays =
            |event: &&Value| !dropped.iter().any(|word| event["type"].as_str().unwrap().ends_with(word));
        said.iter().filter(stays).cloned().chain([end.clone()]).collect()
    };
    for list in [
        without(&[]),
        without(&[".delta"]),
        without(&[".delta", "text.done", "refusal.done"]),
        vec![end.clone()],
    ] {
        let (chunks, ended) = streamed(&list);
        let choice = &Seen::streamed(&chunks).choices[0];
        let told = (choice.reasoning.as_str(), choice.text.as_str(), choice.refusal.as_str());
        assert_eq!((ended, told), (Ok(()), ("hm", "ab", "no")), "{list:?}");
    }
}

#[test]
fn what_is_not_known_does_not_hide_what_is() {
    let content = json!([
        {"type": "output_text", "text": "a", "annotations": {"odd": 1}},
        {"type": "from_the_future", "text": {"deep": 1}}, "odd", {"type": "output_text", "text": "b"}]);
    let future = json!({"type": "from_the_future", "input": [1], "content": 3, "arguments": {}, "action": 7});
    let item = json!({"type": "message", "id": "m", "content": content});
    let reply = whole(
        json!([future, item, {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": 1}}]),
        json!({}),
    );
    let message = &reply.unwrap()["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["tool_calls"][0]["function"]["arguments"]),
        (&json!("ab"), &json!("{\"a\":1}"))
    );
}

#[test]
fn only_the_terminal_event_ends_a_stream() {
    let text = json!({"type": "output_text.delta", "output_index": 0, "content_index": 0, "delta": "a"});
    let gap = json!({"type": "output_text.delta", "sequence_number": 99, "output_index": 0, "content_index": 0, "delta": "b"});
    let odd = json!({"type": "something.new", "output_index": 7, "delta": {"x": 1}});
    let created =
        json!({"type": "created", "response": {"id": "resp_7", "status": "in_progress", "output": []}});
    let (chunks, ended) = streamed(&[created.clone(), text.clone(), odd.clone()]);
    assert_eq!(ended, Err(DecodeError::Truncated));
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
    let mut cut = events(&[created.clone(), text.clone()]);
    cut.extend_from_slice(b"data: [DONE]\n\n");
    let (_, ended) = testing::stream(WireFormat::Responses, "text/event-stream", &[&cut]);
    assert_eq!(ended, Err(DecodeError::Truncated));
    let (chunks, ended) = streamed(&[created, text, odd, gap, completed(json!([message("ab")]))]);
    assert_eq!(ended, Ok(()));
    assert_eq!(Seen::streamed(&chunks).choices[0].text, "ab");
    assert!(chunks.iter().all(|chunk| chunk["id"] == "resp_7"));
}

#[test]
fn the_reasoning_of_the_terminal_event_is_the_one_that_counts_at_its_own_place() {
    let item =
        |data: &str| json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": data});
    let list = |end: Value| {
        vec![
            json!({"type": "output_text.delta", "output_index": 0, "content_index": 0, "delta": "abc"}),
            json!({"type": "output_item.done", "output_index": 0, "item": message("abc")}),
            json!({"type": "output_item.done", "output_index": 1, "item": item("early")}),
            json!({"type": "output_item.done", "output_index": 2, "item": function("c1", "{}")}),
            completed(end),
        ]
    };
    for (end, data) in
        [(json!([message("abc"), item("late"), function("c1", "{}")]), "late"), (json!([]), "early")]
    {
        let (chunks, ended) = streamed(&list(end));
        assert_eq!(ended, Ok(()));
        let details = &Seen::streamed(&chunks).choices[0].details;
        assert_eq!(details.len(), 1);
        assert_eq!((&details[0]["data"], &details[0]["after_text"]), (&json!(data), &json!(3)));
        assert!(details[0].get("after_calls").is_none());
    }
}

#[test]
fn servers_that_count_every_item_as_the_first_are_understood() {
    let added = |id: &str| json!({"type": "output_item.added", "output_index": 0, "item": function(id, "")});
    let delta =
        |text: &str| json!({"type": "function_call_arguments.delta", "output_index": 0, "delta": text});
    let done = |id: &str, text: &str| json!({"type": "output_item.done", "output_index": 0, "item": function(id, text)});
    let (chunks, ended) = streamed(&[
        added("c1"),
        delta("{\"a\":1}"),
        done("c1", "{\"a\":1}"),
        added("c2"),
        delta("{\"a\":2}"),
        done("c2", "{\"a\":2}"),
        completed(json!([])),
    ]);
    let seen = Seen::streamed(&chunks);
    let calls: Vec<(&str, &str)> =
        seen.choices[0].calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!((ended, calls), (Ok(()), vec![("c1", "{\"a\":1}"), ("c2", "{\"a\":2}")]));
}

#[test]
fn log_probabilities_are_chats() {
    let entry = |token: &str| json!({"token": token, "logprob": -0.5, "bytes": [97], "top_logprobs": []});
    let part =
        json!({"type": "output_text", "text": "ab", "annotations": [], "logprobs": [entry("a"), entry("b")]});
    let item = json!({"type": "message", "id": "m", "content": [part]});
    let reply = whole(json!([item]), json!({})).unwrap();
    assert_eq!(reply["choices"][0]["logprobs"], json!({"content": [entry("a"), entry("b")]}));
    let delta = |text: &str| json!({"type": "output_text.delta", "output_index": 0, "content_index": 0, "delta": text, "logprobs": [entry(text)]});
    let (chunks, _) = streamed(&[delta("a"), delta("b"), completed(json!([item]))]);
    let told: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].get(0)).collect();
    assert_eq!(told, [&entry("a"), &entry("b")]);
}

#[test]
fn custom_calls_stream_as_custom_calls() {
    let item = |input: &str| json!({"type": "custom_tool_call", "id": "ctc", "call_id": "c1", "name": "sh", "input": input});
    let (chunks, ended) = streamed(&[
        json!({"type": "output_item.added", "output_index": 0, "item": item("")}),
        json!({"type": "custom_tool_call_input.delta", "output_index": 0, "item_id": "ctc", "delta": "ls"}),
        json!({"type": "output_item.done", "output_index": 0, "item": item("ls")}),
        completed(json!([item("ls")])),
    ]);
    let calls: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0)).collect();
    assert_eq!(ended, Ok(()));
    assert_eq!(
        calls,
        [
            &json!({"index": 0, "id": "c1", "type": "custom", "custom": {"name": "sh", "input": ""}}),
            &json!({"index": 0, "custom": {"input": "ls"}})
        ]
    );
}

#[test]
fn usage_that_cannot_be_is_not_believed() {
    for usage in [
        json!(null),
        json!({"input_tokens": -1, "output_tokens": 2}),
        json!({"input_tokens": 1}),
        json!({"input_tokens": 1, "output_tokens": 20, "total_tokens": 5}),
        json!("many"),
    ] {
        let reply = whole(json!([message("a")]), json!({"usage": usage})).unwrap();
        assert_eq!(reply["usage"], json!({}), "{usage}");
    }
}
