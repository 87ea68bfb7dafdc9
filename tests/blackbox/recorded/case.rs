//! The recorded cases, as they lie in `tests/fixtures/recorded` (its README has layout and sources).

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// One recorded exchange.
#[derive(Clone, Debug)]
pub struct Case {
    /// `<provider>/<name>`.
    pub id: String,
    /// Provider id in the gateway under test.
    pub provider: String,
    /// `meta.json`.
    pub meta: Value,
    /// `expected.json`.
    pub expected: Value,
    /// The format it was recorded in.
    pub family: String,
    /// The request as a chat client writes it, with `model` where the vendor took it from the path.
    pub recorded: String,
    /// The request as the vendor got it, where `recorded` says the same in chat's words and nothing is lost.
    pub native: Option<Value>,
    /// The body of the answer.
    pub body: Vec<u8>,
}

/// Expectations that are wrong, with what is right.
const CORRECTED: [(&str, Correct); 4] = [
    // The model thinks between `<think>` tags, which the contract has as `reasoning`; the derivation of
    // `expected.json` takes them for text.
    ("huggingface/pyai-test-max-completion-tokens", thought_in_tags),
    // It reports -9 tokens of output. A count that cannot be is not passed on: the answer is counted instead.
    ("openai-responses/reqllm2-o4-mini-deep-research-usage", no_usage),
    // Filed under Responses, but it is a chat completion, without any output: no answer to what was asked.
    ("azure-responses/vercel-azure-deepseek-reasoning-1", no_answer),
    // The vendor explains its refusal outside the content, which the derivation does not look at.
    ("anthropic/vercel-anthropic-refusal", refusal_explained),
];

type Correct = fn(&mut Value);

fn no_usage(expected: &mut Value) {
    expected.as_object_mut().expect("an object").remove("usage");
}

fn refusal_explained(expected: &mut Value) {
    expected["choices"][0]["refusal"] = json!(
        "This request triggered restrictions on violative cyber content and was blocked under Anthropic's Usage Policy."
    );
}

fn no_answer(expected: &mut Value) {
    *expected = json!({"kind": "error", "error": {"message": "it has no `output`"}});
}

/// The recording ends within the tags: all of it is reasoning.
fn thought_in_tags(expected: &mut Value) {
    let choice = &mut expected["choices"][0];
    let text = choice["text"].as_str().expect("a text").to_owned();
    let thought = text.strip_prefix("<think>").expect("it opens with the tag");
    assert!(!thought.contains("</think>"));
    choice["reasoning_text"] = json!(thought);
    choice["has_reasoning"] = json!(true);
    choice["text"] = json!("");
}

/// Vendors whose id means another wire format in a gateway's configuration: what was recorded is their
/// OpenAI-compatible endpoint.
const COMPATIBLE: [(&str, &str); 2] =
    [("gemini", "gemini-compatible"), ("anthropic", "anthropic-compatible")];

impl Case {
    fn load(folder: &Path) -> Self {
        let read = |name: &str| {
            std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{folder:?} {name}: {e}"))
        };
        let mut meta: Value = serde_json::from_slice(&read("meta.json")).expect("meta.json");
        let mut expected: Value = serde_json::from_slice(&read("expected.json")).expect("expected.json");
        for (_, correct) in CORRECTED.iter().filter(|(id, _)| meta["case_id"] == *id) {
            correct(&mut expected);
        }
        let text = |name: &str| meta[name].as_str().unwrap_or("").to_owned();
        let (id, vendor, model) = (text("case_id"), text("provider"), text("model"));
        let response_file = text("response_file");
        let family = text("family");
        let chat = family == "openai-chat";
        let ours = COMPATIBLE.iter().find(|(id, _)| chat && *id == vendor);
        let provider = ours.map_or(vendor.as_str(), |(_, ours)| ours);
        let optional = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let recorded = optional(if chat { "request.json" } else { "client_request.json" });
        let native = match (&recorded, optional("request.json")) {
            (Some(_), Some(native)) if !chat => Some(serde_json::from_str(&native).expect("request.json")),
            _ => None,
        };
        let recorded = recorded.unwrap_or_else(|| minimal(&meta, &expected));
        // The gateway asks for server-sent events; a stream that is one JSON array can only be a whole reply to it.
        if meta["features"].as_array().is_some_and(|all| all.contains(&json!("json_array_stream"))) {
            meta["streaming"] = json!(false);
            meta["stream_requested"] = json!(false);
        }
        Self {
            id,
            provider: provider.to_owned(),
            family,
            recorded: streaming(&with_model(&recorded, &model), &meta, chat),
            native,
            body: read(&response_file),
            meta,
            expected,
        }
    }

    /// Every case of a format, by provider and name.
    pub fn of(family: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recorded");
        let folders = |path: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(path).expect("the fixtures are there");
            let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
            found.retain(|path| path.is_dir());
            found.sort();
            found
        };
        let all = folders(&root).into_iter().flat_map(|vendor| folders(&vendor));
        all.map(|folder| Self::load(&folder)).filter(|case| case.family == family).collect()
    }

    /// The upstream's status.
    pub fn status(&self) -> u16 {
        self.meta["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status")
    }

    /// The answer came as a stream.
    pub fn streamed(&self) -> bool {
        self.meta["streaming"] == true
    }

    /// The request as an object.
    pub fn request(&self) -> Map<String, Value> {
        serde_json::from_str(&self.recorded).expect("a recorded request is an object")
    }

    /// Model name upstream.
    pub fn model(&self) -> String {
        self.request()["model"].as_str().expect("a model").to_owned()
    }

    /// Model string for the gateway.
    pub fn asked(&self) -> String {
        format!("{}/{}", self.provider, self.model())
    }

    /// What the client sends: the recorded bytes with the provider's id before the model's name, and usage asked
    /// for when `usage` says so.
    pub fn client_body(&self, usage: bool) -> String {
        let body = replace_member(&self.recorded, "model", &json!(self.asked()).to_string());
        if !usage || self.asks_for_usage() {
            return body;
        }
        let mut options = self.request().get("stream_options").cloned().unwrap_or_else(|| json!({}));
        options["include_usage"] = json!(true);
        replace_member(&body, "stream_options", &options.to_string())
    }

    /// The recorded request asks for usage.
    pub fn asks_for_usage(&self) -> bool {
        self.request().get("stream_options").is_some_and(|options| options["include_usage"] == true)
    }
}

/// A chat client says in the request what other formats say in the path.
fn streaming(request: &str, meta: &Value, chat: bool) -> String {
    if chat {
        return request.to_owned();
    }
    replace_member(request, "stream", &meta["stream_requested"].to_string())
}

/// A request for a case that has none.
fn minimal(meta: &Value, expected: &Value) -> String {
    let mut request = json!({
        "model": meta["model"].as_str().or(expected["model_upstream"].as_str()).unwrap_or("m"),
        "messages": [{"role": "user", "content": "hello"}],
    });
    let choices = expected["choices"].as_array().map_or(0, Vec::len);
    if choices > 1 {
        request["n"] = json!(choices);
    }
    if meta["stream_requested"] == true {
        request["stream"] = json!(true);
    }
    request.to_string()
}

/// Adds the model where the vendor took it from the path.
fn with_model(request: &str, model: &str) -> String {
    let members: Map<String, Value> = serde_json::from_str(request).expect("an object");
    match members.get("model") {
        Some(Value::String(_)) => request.to_owned(),
        _ => replace_member(
            request,
            "model",
            &json!(if model.is_empty() { "deployment" } else { model }).to_string(),
        ),
    }
}

/// Members of an object with their bytes as written.
pub fn raw_members(text: &str) -> Vec<(String, &str)> {
    struct Members<'a>(Vec<(String, &'a str)>);
    impl<'de> serde::Deserialize<'de> for Members<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Members<'de>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                        members.push((name, value.get()));
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Members<'_>>(text).expect("an object").0
}

/// Replaces one member's bytes, or puts the member first.
fn replace_member(text: &str, name: &str, value: &str) -> String {
    let found = raw_members(text).into_iter().find(|(member, _)| member == name);
    match found {
        Some((_, written)) => {
            let start = written.as_ptr() as usize - text.as_ptr() as usize;
            format!("{}{value}{}", &text[..start], &text[start + written.len()..])
        }
        None => text.replacen('{', &format!("{{\"{name}\": {value},"), 1),
    }
}
