//! A client of the public API, as plain as can be: what an SDK would send, and everything that came back.

use futures_util::StreamExt as _;
use serde_json::{Value, json};

/// Holds a key.
#[derive(Clone, Debug)]
pub struct Client {
    /// Base of the gateway.
    pub url: String,
    /// The key.
    pub key: String,
    http: reqwest::Client,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A JSON payload.
    Json(Value),
    /// `[DONE]`.
    Done,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Response headers.
    pub headers: reqwest::header::HeaderMap,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// True when the connection broke before the body's end.
    pub broken: bool,
}

impl Client {
    /// A client of the gateway at `url`.
    pub fn new(url: &str, key: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url: url.to_owned(), key: key.to_owned(), http }
    }

    /// A chat request, not sent yet.
    pub fn request(&self, body: &Value) -> reqwest::RequestBuilder {
        self.raw(body.to_string())
    }

    /// A chat request with these very bytes, not sent yet.
    pub fn raw(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/v1/chat/completions", self.url))
            .bearer_auth(&self.key)
            .header("content-type", "application/json")
            .body(body)
    }

    /// Sends a chat request and reads its whole answer.
    pub async fn chat(&self, body: &Value) -> Answer {
        Answer::of(self.request(body)).await
    }

    /// Asks `model` something, with further fields.
    pub async fn ask(&self, model: &str, more: Value) -> Answer {
        self.chat(&question(model, more)).await
    }

    /// GET of a path.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key)).await
    }
}

/// A request with one user message, and further fields.
pub fn question(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

impl Answer {
    /// Sends a request and reads what comes, also when it breaks off.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = tokio::time::timeout(super::PATIENCE, request.send()).await;
        let response = response.expect("answered in time").expect("answered");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut answer = Self { status, headers, bytes: Vec::new(), broken: false };
        let mut body = response.bytes_stream();
        while let Some(piece) =
            tokio::time::timeout(super::PATIENCE, body.next()).await.expect("body in time")
        {
            match piece {
                Ok(bytes) => answer.bytes.extend_from_slice(&bytes),
                Err(_) => answer.broken = true,
            }
        }
        answer
    }

    /// A header, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("the gateway answers in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// `error.code`, or the empty string.
    pub fn code(&self) -> String {
        self.json().pointer("/error/code").and_then(Value::as_str).unwrap_or("").to_owned()
    }

    /// `error.param`, or the empty string.
    pub fn param(&self) -> String {
        self.json().pointer("/error/param").and_then(Value::as_str).unwrap_or("").to_owned()
    }

    /// The events of a stream, read strictly: only `data:` lines, comments and blank lines are allowed.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for block in self.text().split_terminator("\n\n").filter(|block| !block.starts_with(':')) {
            let data = block.strip_prefix("data: ").unwrap_or_else(|| panic!("not an event: {block:?}"));
            assert!(!data.contains('\n'), "one line per event: {block:?}");
            events.push(match data {
                "[DONE]" => Event::Done,
                json => {
                    Event::Json(serde_json::from_str(json).unwrap_or_else(|_| panic!("not JSON: {json}")))
                }
            });
        }
        events
    }

    /// The JSON payloads of a stream.
    pub fn chunks(&self) -> Vec<Value> {
        let json = |event| match event {
            Event::Json(value) => Some(value),
            Event::Done => None,
        };
        self.events().into_iter().filter_map(json).collect()
    }

    /// True when the stream's last event is `[DONE]`.
    pub fn done(&self) -> bool {
        self.events().last() == Some(&Event::Done)
    }

    /// The text of the first choice, streamed or not.
    pub fn content(&self) -> String {
        if !self.header("content-type").starts_with("text/event-stream") {
            let json = self.json();
            return json
                .pointer("/choices/0/message/content")
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned();
        }
        let chunks = self.chunks();
        chunks.iter().filter_map(|c| c.pointer("/choices/0/delta/content")?.as_str()).collect()
    }

    /// The error event at the end of a stream.
    pub fn stream_error(&self) -> Option<Value> {
        self.chunks().into_iter().find_map(|chunk| chunk.get("error").cloned())
    }
}
