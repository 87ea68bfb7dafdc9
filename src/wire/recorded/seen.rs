//! What a client saw of an answer, whole or streamed, put together.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// One choice.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Its place among the choices.
    pub index: u64,
    /// `content`
    pub text: String,
    /// `reasoning`
    pub reasoning: String,
    /// `refusal`
    pub refusal: String,
    /// `tool_calls`
    pub calls: Vec<Call>,
    /// `reasoning_details`
    pub details: Vec<Value>,
    /// `images`
    pub images: Vec<Value>,
    /// `annotations`
    pub annotations: Vec<Value>,
    /// `finish_reason`
    pub finish: Option<String>,
}

/// One tool call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Joins the call and its result.
    pub id: String,
    /// The function.
    pub name: String,
    /// JSON in a string.
    pub arguments: String,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// In the order they began.
    pub choices: Vec<Choice>,
    /// The last usage told, if any.
    pub usage: Option<Value>,
    /// Rules that hold for every answer and that this one breaks.
    pub broken: Vec<String>,
}

impl Seen {
    /// From a completion.
    pub fn whole(reply: &Value) -> Self {
        let mut seen = Self { usage: reported(&reply["usage"]), ..Self::default() };
        for choice in reply["choices"].as_array().into_iter().flatten() {
            let mut made = Choice { index: choice["index"].as_u64().unwrap(), ..Choice::default() };
            made.add(&choice["message"]);
            for call in list(&choice["message"]["tool_calls"]) {
                made.calls.push(Call::default());
                made.calls.last_mut().unwrap().add(&call);
            }
            made.finish = choice["finish_reason"].as_str().map(str::to_owned);
            seen.choices.push(made);
        }
        seen
    }

    /// From the chunks of a stream.
    pub fn streamed(chunks: &[Value]) -> Self {
        let mut seen = Self::default();
        for chunk in chunks {
            if let Some(usage) = reported(&chunk["usage"]) {
                seen.usage = Some(usage);
            }
            for choice in list(&chunk["choices"]) {
                seen.delta(&choice);
            }
        }
        seen
    }

    fn delta(&mut self, choice: &Value) {
        let index = choice["index"].as_u64().unwrap();
        let at = match self.choices.iter().position(|known| known.index == index) {
            Some(at) => at,
            None => {
                if choice["delta"]["role"] != "assistant" {
                    self.broken.push(format!("the first delta has no role: {choice}"));
                }
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        let made = &mut self.choices[at];
        made.add(&choice["delta"]);
        for call in list(&choice["delta"]["tool_calls"]) {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if index == made.calls.len() {
                made.calls.push(Call::default());
            } else if call.get("id").is_some() || index > made.calls.len() {
                self.broken.push(format!("tool calls are misnumbered: {call}"));
            }
            made.calls[index].add(&call);
        }
        if let Some(word) = choice["finish_reason"].as_str()
            && made.finish.replace(word.to_owned()).is_some()
        {
            self.broken.push("two endings".to_owned());
        }
    }
}

impl Choice {
    /// Adds what a message or a delta holds, calls aside.
    fn add(&mut self, message: &Value) {
        for (name, text) in
            [("content", &mut self.text), ("reasoning", &mut self.reasoning), ("refusal", &mut self.refusal)]
        {
            text.push_str(message[name].as_str().unwrap_or(""));
        }
        self.details.extend(list(&message["reasoning_details"]));
        self.images.extend(list(&message["images"]));
        self.annotations.extend(list(&message["annotations"]));
    }

    /// What minted reasoning brings along to be believed: signatures, and with `opaque` what only its minter can read.
    pub fn signatures(&self, opaque: bool) -> Vec<String> {
        let signed = |detail: &Value| {
            let found = detail["signature"].as_str().or(detail["data"].as_str().filter(|_| opaque));
            found.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        self.details.iter().filter_map(signed).collect()
    }
}

impl Call {
    fn add(&mut self, call: &Value) {
        self.id.push_str(call["id"].as_str().unwrap_or(""));
        self.name.push_str(call["function"]["name"].as_str().unwrap_or(""));
        self.arguments.push_str(call["function"]["arguments"].as_str().unwrap_or(""));
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn reported(usage: &Value) -> Option<Value> {
    usage.as_object().filter(|usage| !usage.is_empty()).map(|usage| Value::Object(usage.clone()))
}

/// Media type, size and SHA-256 of an image in a data URL.
pub fn image(image: &Value) -> Option<(String, usize, String)> {
    let url = image["image_url"]["url"].as_str()?;
    let (mime, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    let bytes = decode(data);
    let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Some((mime.to_owned(), bytes.len(), digest))
}

/// Base64, decoded the slow way.
fn decode(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let six = ALPHABET.iter().position(|letter| *letter == byte).expect("base64");
        held = (held << 6 | u32::try_from(six).unwrap()) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    out
}
