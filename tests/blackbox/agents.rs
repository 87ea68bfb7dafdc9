//! Agents: many turns of reasoning and parallel tool calls against upstreams that check what the real ones check.
//! What a client does with `reasoning_details` must not matter: it may send them back, or lose them.

use serde_json::{Value, json};

use crate::support::{Client, Event, Gateway, Setup, StrictUpstream};

/// Rounds of tool calls in one conversation.
const ROUNDS: usize = 10;

/// A format: its word, the path below the stub that its base address has, and the member in which what was minted goes
/// back (none where nothing is).
const FORMATS: &[(&str, &str, &str)] = &[
    ("openai", "/v1", ""),
    ("anthropic", "", "signature"),
    ("bedrock-converse", "", "signature"),
    ("cohere", "", "thinking"),
    ("responses", "/v1", "encrypted_content"),
    ("gemini", "/v1beta", "thoughtSignature"),
];

/// A gateway with one provider of each format.
async fn gateway(upstream: &StrictUpstream) -> Gateway {
    let mut config = "providers:\n".to_owned();
    for (format, path, _) in FORMATS {
        let url = upstream.url();
        config.push_str(&format!(
            "  {format}-up: {{ wire: {format}, base_url: '{url}{path}', catalog: none, quirks: {{ budget_thinking_models: ['*'] }} }}\n"
        ));
    }
    Setup::new(config).start().await
}

fn tools() -> Value {
    let function = |name: &str| {
        json!({"type": "function", "function": {"name": name, "description": "Looks something up.", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}})
    };
    json!([function("get_weather"), function("get_time")])
}

/// One turn: the assistant's message as a client puts it together, and its finish reason.
async fn turn(client: &Client, body: &Value, stream: bool) -> (Value, Value) {
    let mut body = body.clone();
    body["stream"] = json!(stream);
    let answer = client.chat(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    if !stream {
        let reply = answer.json();
        let choice = &reply["choices"][0];
        return (choice["message"].clone(), choice["finish_reason"].clone());
    }
    let mut message = json!({"role": "assistant", "content": null});
    let (mut details, mut calls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let (mut text, mut reasoning, mut finish) = (String::new(), String::new(), Value::Null);
    for event in answer.events() {
        let Event::Json(chunk) = event else { continue };
        assert!(chunk.get("error").is_none(), "{chunk}");
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        text.push_str(delta["content"].as_str().unwrap_or(""));
        reasoning.push_str(delta["reasoning"].as_str().unwrap_or(""));
        details.extend(delta["reasoning_details"].as_array().cloned().unwrap_or_default());
        for fragment in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = fragment["index"].as_u64().expect("an index") as usize;
            if index == calls.len() {
                calls.push(json!({"id": fragment["id"], "type": "function", "function": {"name": fragment["function"]["name"], "arguments": ""}}));
            }
            let more = fragment["function"]["arguments"].as_str().unwrap_or("");
            let whole =
                format!("{}{more}", calls[index]["function"]["arguments"].as_str().expect("a string"));
            calls[index]["function"]["arguments"] = json!(whole);
        }
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    if !text.is_empty() {
        message["content"] = json!(text);
    }
    message["reasoning"] = json!(reasoning);
    message["reasoning_details"] = json!(details);
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    (message, finish)
}

/// What a client does with `reasoning_details`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Sends them back as they came.
    Keeps,
    /// Sends none back.
    Loses,
    /// Sends back the members that it knows of, and no others.
    Strips,
}

/// The message as the client sends it back.
fn kept(mut message: Value, habit: Habit) -> Value {
    let members = message.as_object_mut().expect("a message");
    if habit == Habit::Loses {
        members.remove("reasoning");
        members.remove("reasoning_details");
    }
    if habit == Habit::Strips {
        let details = members.get_mut("reasoning_details").and_then(Value::as_array_mut);
        for detail in details.into_iter().flatten() {
            detail
                .as_object_mut()
                .expect("a block")
                .retain(|name, _| matches!(name.as_str(), "type" | "text" | "data" | "signature"));
        }
    }
    message
}

/// A whole conversation; gives the bodies that reached the upstream.
async fn converse(
    client: &Client,
    upstream: &StrictUpstream,
    format: &str,
    stream: bool,
    habit: Habit,
) -> Vec<Value> {
    let mut body = json!({
        "model": format!("{format}-up/agent:rounds={ROUNDS}"), "tools": tools(), "reasoning_effort": "medium",
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Use tools."},
            {"role": "user", "content": "What is the weather in Vienna, and the time?"},
        ],
    });
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let (message, finish) = turn(client, &body, stream).await;
        seen.push(upstream.last_body().await);
        let place = format!("{format}, round {round}: {message}");
        let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("no calls: {place}")).clone();
        assert_eq!((calls.len(), finish.as_str()), (2, Some("tool_calls")), "{place}");
        assert!(message["reasoning"].as_str().is_some_and(|text| text.contains("The user said")), "{place}");
        let messages = body["messages"].as_array_mut().expect("a list");
        messages.push(kept(message, habit));
        // Results in the other order than the calls: what belongs together goes by its id.
        for call in calls.iter().rev() {
            messages.push(
                json!({"role": "tool", "tool_call_id": call["id"], "content": format!("sunny {round}")}),
            );
        }
    }
    let (message, finish) = turn(client, &body, stream).await;
    assert_eq!(finish, "stop", "{format}: {message}");
    assert!(
        message["content"].as_str().is_some_and(|text| text.contains("The tool says: sunny 9")),
        "{message}"
    );
    seen.push(upstream.last_body().await);
    seen
}

/// Every format, whole and streamed, with a client that sends reasoning back and one that loses it.
#[tokio::test]
async fn ten_rounds_of_reasoning_and_parallel_calls_are_never_refused() {
    let upstream = StrictUpstream::start();
    let gateway = gateway(&upstream).await;
    let client = gateway.client().await;
    for (format, _, minted) in FORMATS {
        for (stream, habit) in [false, true]
            .into_iter()
            .flat_map(|stream| [Habit::Keeps, Habit::Loses, Habit::Strips].map(|habit| (stream, habit)))
        {
            let bodies = converse(&client, &upstream, format, stream, habit).await;
            let last = bodies.last().expect("a last turn").to_string();
            if !minted.is_empty() {
                let back = last.matches(&format!("\"{minted}\":\"")).count();
                assert_eq!(back, ROUNDS, "{format}, stream {stream}, {habit:?}: {last}");
            }
        }
    }
}

/// Vendors keep prompts cached by their first bytes.
#[tokio::test]
async fn what_was_sent_once_is_sent_again_byte_by_byte() {
    let upstream = StrictUpstream::start();
    let first = gateway(&upstream).await;
    let second = gateway(&upstream).await;
    for (format, _, _) in FORMATS {
        let client = first.client().await;
        let bodies = converse(&client, &upstream, format, false, Habit::Keeps).await;
        let turns = |body: &Value| {
            ["messages", "contents", "input"]
                .iter()
                .find_map(|name| body[*name].as_array().cloned())
                .expect("turns")
        };
        for pair in bodies.windows(2) {
            let (earlier, later) = (turns(&pair[0]), turns(&pair[1]));
            for (at, turn) in earlier.iter().enumerate() {
                assert_eq!(turn.to_string(), later[at].to_string(), "{format}: turn {at}");
            }
            let (mut earlier, mut later) = (pair[0].clone(), pair[1].clone());
            for name in ["messages", "contents", "input"] {
                earlier.as_object_mut().expect("an object").remove(name);
                later.as_object_mut().expect("an object").remove(name);
            }
            assert_eq!(earlier.to_string(), later.to_string(), "{format}: everything else");
        }
        // Another replica makes the same bytes of the same conversation.
        let other = second.client().await;
        let again = converse(&other, &upstream, format, false, Habit::Keeps).await;
        let texts = |bodies: &[Value]| bodies.iter().map(Value::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&bodies), texts(&again), "{format}");
    }
}
