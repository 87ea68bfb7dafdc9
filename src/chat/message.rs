//! Shape of messages and tools: types only, read once at the door to check them and to see what they use.
//!
//! Texts are not kept: a [`Text`] knows its length and nothing else, so that checking costs no allocation.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::Error;

/// A string of which only the length (in bytes, decoded) is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text(pub usize);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Length;
        impl Visitor<'_> for Length {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.len()))
            }
        }
        deserializer.deserialize_str(Length)
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the application's developer.
    Developer,
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
    /// A function's result (legacy).
    Function,
}

impl Role {
    /// The role that a word names, if it is one.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "developer" => Self::Developer,
            "system" => Self::System,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "tool" => Self::Tool,
            "function" => Self::Function,
            _ => return None,
        })
    }
}

/// What a content part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Text.
    Text,
    /// An image, by https or data URL.
    ImageUrl,
    /// Audio, inline.
    InputAudio,
    /// A document.
    File,
    /// Something a vendor understands: passed on.
    Other,
}

impl PartKind {
    /// The kind that a word names.
    pub fn of(word: &str) -> Self {
        match word {
            "text" => Self::Text,
            "image_url" => Self::ImageUrl,
            "input_audio" => Self::InputAudio,
            "file" => Self::File,
            _ => Self::Other,
        }
    }
}

impl<'de> Deserialize<'de> for PartKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = PartKind;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<PartKind, E> {
                Ok(PartKind::of(word))
            }
        }
        deserializer.deserialize_str(Word)
    }
}

/// An address of an image: its scheme is what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Url {
    /// `https:`
    Https,
    /// `data:`
    Data,
    /// Anything else: refused.
    Other,
}

impl Url {
    /// Looks at the scheme.
    pub fn of(url: &str) -> Self {
        let is =
            |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        if is("https://") {
            Self::Https
        } else if is("data:") {
            Self::Data
        } else {
            Self::Other
        }
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scheme;
        impl Visitor<'_> for Scheme {
            type Value = Url;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an https or data URL")
            }
            fn visit_str<E: de::Error>(self, url: &str) -> Result<Url, E> {
                Ok(Url::of(url))
            }
        }
        deserializer.deserialize_str(Scheme)
    }
}

/// `image_url` of a part: an object with a `url`; a bare URL is understood by OpenAI, too.
#[derive(Clone, Copy, Debug)]
pub struct ImageUrl {
    /// Where, or what.
    pub url: Url,
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            url: Url,
            #[expect(dead_code, reason = "read only to check its type")]
            detail: Option<Text>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ImageUrl;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `url`")
            }
            fn visit_str<E: de::Error>(self, url: &str) -> Result<ImageUrl, E> {
                Ok(ImageUrl { url: Url::of(url) })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ImageUrl, A::Error> {
                let object = Object::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(ImageUrl { url: object.url })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// `input_audio` of a part.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(dead_code, reason = "read only to check its fields")]
pub struct InputAudio {
    data: Text,
    format: Option<Text>,
}

/// One content part.
#[derive(Clone, Debug, Deserialize)]
pub struct Part {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: PartKind,
    text: Option<Text>,
    image_url: Option<ImageUrl>,
    input_audio: Option<InputAudio>,
    file: Option<serde::de::IgnoredAny>,
}

/// `content` of a message.
#[derive(Clone, Debug, Default)]
enum Content {
    #[default]
    Absent,
    Text(usize),
    Parts(Vec<Part>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, null or an array of content parts")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
                Ok(Content::Absent)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.len()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One message.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    #[serde(default)]
    content: Content,
    #[expect(dead_code, reason = "read only to check its type")]
    name: Option<Text>,
    #[expect(dead_code, reason = "read only to check its type")]
    tool_call_id: Option<Text>,
    tool_calls: Option<Vec<ToolCall>>,
    reasoning: Option<serde::de::IgnoredAny>,
    reasoning_details: Option<serde::de::IgnoredAny>,
}

/// A tool call in an assistant message.
#[derive(Clone, Debug, Deserialize)]
#[expect(dead_code, reason = "read only to check its fields")]
struct ToolCall {
    id: Option<Text>,
    function: Option<CalledFunction>,
}

/// The function of a tool call.
#[derive(Clone, Debug, Deserialize)]
#[expect(dead_code, reason = "read only to check its fields")]
struct CalledFunction {
    name: Text,
    arguments: Option<Text>,
}

impl Message {
    /// What a tool call counts as, bytes of text.
    pub const CALL_BYTES: u64 = 64;

    /// Checks what types alone cannot say; `at` is its index, for the path.
    pub fn check(&self, at: usize) -> Result<(), Error> {
        for (part_at, part) in self.parts().iter().enumerate() {
            part.check(&format_args!("messages[{at}].content[{part_at}]"))?;
        }
        Ok(())
    }

    /// Content parts; none when the content is a string or null.
    pub fn parts(&self) -> &[Part] {
        match &self.content {
            Content::Parts(parts) => parts,
            _ => &[],
        }
    }

    /// Bytes of its text.
    pub fn text_bytes(&self) -> u64 {
        let bytes = match &self.content {
            Content::Absent => 0,
            Content::Text(length) => *length,
            Content::Parts(parts) => parts.iter().filter_map(|part| part.text).map(|text| text.0).sum(),
        };
        let calls = self.tool_calls.as_deref().unwrap_or_default().len();
        bytes as u64 + calls as u64 * Self::CALL_BYTES
    }

    /// True when it brings reasoning of an earlier turn back.
    pub fn has_reasoning(&self) -> bool {
        self.reasoning.is_some() || self.reasoning_details.is_some()
    }
}

impl Part {
    /// A part of a kind must hold that kind's field.
    fn check(&self, path: &fmt::Arguments<'_>) -> Result<(), Error> {
        let missing = |field: &str| {
            let param = format!("{path}.{field}");
            Err(Error::invalid(format!("Missing required parameter: `{param}`."), param))
        };
        match self.kind {
            PartKind::Text if self.text.is_none() => missing("text"),
            PartKind::InputAudio if self.input_audio.is_none() => missing("input_audio"),
            PartKind::File if self.file.is_none() => missing("file"),
            PartKind::ImageUrl => match self.image_url {
                None => missing("image_url"),
                Some(image) if image.url == Url::Other => {
                    let param = format!("{path}.image_url");
                    Err(Error::invalid(format!("`{param}.url` must be an https or data URL."), param))
                }
                Some(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// Checks `tools`; returns how many there are and the bytes they take.
pub fn check_tools(value: &str) -> Result<(usize, u64), Error> {
    #[derive(Deserialize)]
    struct Function {
        #[expect(dead_code, reason = "read only to check that it is there")]
        name: Text,
        parameters: Option<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Tool {
        r#type: Option<String>,
        function: Option<Function>,
    }
    let tools: Vec<Tool> = super::fields::typed("tools", value)?;
    for (at, tool) in tools.iter().enumerate() {
        let missing = |field: &str| {
            let param = format!("tools[{at}].{field}");
            Err(Error::invalid(format!("Missing required parameter: `{param}`."), param))
        };
        match (tool.r#type.as_deref(), &tool.function) {
            // Some clients leave the type out; some vendors have tools of their own types.
            (None | Some("function"), None) => return missing("function"),
            (_, Some(Function { parameters: Some(schema), .. })) if !schema.get().starts_with(['{', 'n']) => {
                let param = format!("tools[{at}].function.parameters");
                return Err(Error::invalid(format!("`{param}` must be a JSON Schema object."), param));
            }
            _ => {}
        }
    }
    Ok((tools.len(), value.len() as u64))
}
