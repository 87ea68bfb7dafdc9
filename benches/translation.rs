//! What translation costs: a request of 2 KB, one of 1 MB with an image, and an event of a stream, in every format.
//!
//! `cargo bench --bench translation`. Streams are recorded ones; the figure is for the whole stream, divide it by the
//! events that its name tells.

#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark: the harness makes functions, and what fails shall stop it"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use llm_gateway::chat::{Facts, request};
use llm_gateway::wire::{Decoder, Envelope, Media, Order, Quirks, Reading, WireFormat};
use serde_json::{Value, json};

/// A conversation of 2 KB with tools, calls and results.
fn conversation() -> Value {
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "description": "Looks something up for a city.", "parameters": {
            "type": "object", "properties": {"city": {"type": "string", "description": "Its name"}}, "required": ["city"]}}})
    };
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Vienna\"}"}});
    json!({
        "model": "m", "max_tokens": 1000, "stream": true, "tools": [tool("get_weather"), tool("get_time")],
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that answers briefly. ".repeat(8)},
            {"role": "user", "content": "What is the weather in Vienna, and what time is it there? ".repeat(4)},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [call("call_1"), call("call_2")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "It is sunny and warm, 24 degrees."},
            {"role": "tool", "tool_call_id": "call_2", "content": "It is a quarter past three."},
            {"role": "user", "content": "Thank you. And tomorrow? ".repeat(6)},
        ],
    })
}

/// A question with an image of 1 MB.
fn picture() -> Value {
    let url = format!("data:image/png;base64,{}", "QUJD".repeat(262_144));
    json!({"model": "m", "max_tokens": 1000, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]}]})
}

fn encode(c: &mut Criterion, name: &str, body: &Value) {
    let body = Bytes::from(body.to_string());
    let (quirks, media) = (Quirks::default(), Media::default());
    let mut group = c.benchmark_group(format!("encode {name} ({} bytes)", body.len()));
    for format in WireFormat::ALL {
        group.bench_function(format.name(), |bench| {
            let parsed = request::parse(&body).expect("a request");
            bench.iter(|| {
                let order = Order {
                    body: black_box(&body),
                    request: &parsed,
                    model: "other",
                    quirks: &quirks,
                    facts: Facts::default(),
                    strict: false,
                    media: &media,
                    recall: &|_| Vec::new(),
                };
                format.encode(&order).expect("encoded").body.len()
            });
        });
    }
}

/// A recorded stream of each format.
const STREAMS: &[(WireFormat, &str, &str)] = &[
    (WireFormat::Openai, "openai/arize-streaming", "text/event-stream"),
    (WireFormat::Anthropic, "anthropic/olly-test-anthropic-tools-streaming-legacy", "text/event-stream"),
    (WireFormat::Gemini, "gemini/chatlas-test-tools-parallel", "text/event-stream"),
    (WireFormat::Responses, "openai-responses/mira-stream", "text/event-stream"),
    (WireFormat::Cohere, "cohere/olly-test-stream-with-events-with-content", "text/event-stream"),
    (WireFormat::BedrockConverse, "bedrock/dd-bedrock-converse-stream", "application/vnd.amazon.eventstream"),
];

/// The events of a recorded stream.
fn events(case: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recorded").join(case);
    if let Ok(text) = std::fs::read_to_string(path.join("response.sse")) {
        let text = text.replace("\r\n", "\n");
        return text.split_inclusive("\n\n").map(|event| event.as_bytes().to_vec()).collect();
    }
    let mut rest = std::fs::read(path.join("response.bin")).expect("a recorded stream");
    let mut frames = Vec::new();
    while let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        let more = rest.split_off(length.min(rest.len()));
        frames.push(std::mem::replace(&mut rest, more));
    }
    frames
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode a stream");
    let quirks = Quirks::default();
    let envelope = Envelope { model: "p/m".into(), fallback_id: "chatcmpl-x".into(), ..Envelope::default() };
    for (format, case, content_type) in STREAMS {
        let events = events(case);
        group.bench_function(format!("{} ({} events)", format.name(), events.len()), |bench| {
            bench.iter(|| {
                let reading = Reading { quirks: &quirks, think_tags: false, include_usage: true, n: 1 };
                let mut decoder = Decoder::new(*format, reading, content_type, &envelope);
                let mut length = 0;
                for event in &events {
                    let mut out = Vec::new();
                    let fed = decoder.feed(event, &envelope, 1, &mut out);
                    length += out.len();
                    if fed.is_ok_and(|fed| fed.ended) {
                        break;
                    }
                }
                length
            });
        });
    }
}

fn all(c: &mut Criterion) {
    encode(c, "a conversation", &conversation());
    encode(c, "an image", &picture());
    decode(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = all
}
criterion_main!(benches);
