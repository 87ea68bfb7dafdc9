//! Events of a stream: `data: {chat.completion.chunk}`, written around what all events of a stream share.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::answer::{Answer, PICTURE};
use super::dialect::Frames;
use super::fault::Fault;
use super::parts::Part;

/// Facts of an answer beside its content.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `id`.
    pub id: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// As the client wrote it.
    pub model: String,
}

/// What all chunks of one stream share.
pub struct Frame {
    prefix: String,
    suffix: &'static str,
    logprobs: bool,
}

/// A value as JSON; strings and plain structs cannot fail.
pub fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// `logprobs` of a choice: one token.
pub fn logprobs(token: &str) -> serde_json::Value {
    json!({"token": token, "logprob": -0.25, "bytes": token.as_bytes(), "top_logprobs": []})
}

impl Frame {
    /// For a stream that ends with usage (`include_usage`) or carries log probabilities.
    pub fn new(facts: &Facts, include_usage: bool, logprobs: bool) -> Self {
        let prefix = format!(
            r#"data: {{"id":{},"object":"chat.completion.chunk","created":{},"model":{},"service_tier":"default","system_fingerprint":"fp_stub","choices":["#,
            text(&facts.id),
            facts.created,
            text(&facts.model),
        );
        let suffix = if include_usage { "],\"usage\":null}\n\n" } else { "]}\n\n" };
        Self { prefix, suffix, logprobs }
    }

    fn event(&self, choice: u32, delta: &str, token: Option<&str>, reason: &str) -> Bytes {
        let logprobs = match token.filter(|_| self.logprobs) {
            Some(token) => json!({"content": [logprobs(token)], "refusal": null}).to_string(),
            None => "null".to_owned(),
        };
        let mut event = String::with_capacity(self.prefix.len() + delta.len() + logprobs.len() + 96);
        for piece in
            [&self.prefix, r#"{"index":"#, &text(&choice), r#","delta":{"#, delta, r#"},"logprobs":"#]
        {
            event.push_str(piece);
        }
        for piece in [&logprobs, r#","finish_reason":"#, reason, "}", self.suffix] {
            event.push_str(piece);
        }
        Bytes::from(event)
    }
}

impl Frames for Frame {
    fn role(&mut self, choice: u32, answer: &Answer) -> Bytes {
        let content = if answer.calls.is_empty() { "\"\"" } else { "null" };
        let delta = format!(r#""role":"assistant","content":{content},"refusal":null"#);
        self.event(choice, &delta, None, "null")
    }

    fn part(&mut self, choice: u32, part: &Part, answer: &Answer) -> Bytes {
        let mut token = None;
        let delta = match part {
            Part::Text(_) | Part::Drip(_) => {
                let piece = match (part, &answer.words) {
                    (Part::Text(range), super::answer::Words::Text(whole)) => {
                        whole.get(range.clone()).unwrap_or("").to_owned()
                    }
                    (Part::Drip(at), words) => words.drop(*at),
                    _ => String::new(),
                };
                let delta = format!(r#""content":{}"#, text(&piece));
                token = Some(piece);
                delta
            }
            Part::Reasoning(range) => {
                format!(r#""reasoning_content":{}"#, text(&answer.reasoning.get(range.clone()).unwrap_or("")))
            }
            Part::CallStart(at) => answer.calls.get(*at).map_or_else(String::new, |call| {
                let (id, name) = (text(&call.id), text(&call.name));
                format!(
                    r#""tool_calls":[{{"index":{at},"id":{id},"type":"function","function":{{"name":{name},"arguments":""}}}}]"#
                )
            }),
            Part::Arguments(at, range) => {
                let arguments = answer.calls.get(*at).and_then(|call| call.arguments.get(range.clone()));
                let arguments = text(&arguments.unwrap_or(""));
                format!(r#""tool_calls":[{{"index":{at},"function":{{"arguments":{arguments}}}}}]"#)
            }
            Part::Image => {
                format!(r#""images":[{{"index":0,"type":"image_url","image_url":{{"url":"{PICTURE}"}}}}]"#)
            }
        };
        self.event(choice, &delta, token.as_deref(), "null")
    }

    fn finish(&mut self, choice: u32, answer: &Answer) -> Bytes {
        self.event(choice, "", None, &text(&answer.finish))
    }

    fn usage(&mut self, answer: &Answer) -> Option<Bytes> {
        let usage = text(answer.usage.as_ref()?);
        Some(Bytes::from(format!("{}],\"usage\":{usage}}}\n\n", self.prefix)))
    }

    fn done(&mut self) -> Bytes {
        Bytes::from_static(b"data: [DONE]\n\n")
    }

    fn error(&mut self, fault: &Fault) -> Bytes {
        [b"data: ", fault.body().as_slice(), b"\n\n"].concat().into()
    }
}
