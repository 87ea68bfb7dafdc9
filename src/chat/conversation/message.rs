//! Messages and their parts.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Detail, Str};
use crate::chat::fields::typed;
use crate::error::Error;

pub use crate::chat::message::Role;

/// One message.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Who speaks; never [`Role::Function`], which is read as a tool.
    pub role: Role,
    /// Its content: a string is one text part, null is no part.
    pub parts: Vec<Part<'a>>,
    /// Name of the speaker.
    pub name: Option<Str<'a>>,
    /// For a tool's result: the call it answers.
    pub tool_call_id: Option<Str<'a>>,
    /// For an assistant: the calls it made, in order.
    pub tool_calls: Vec<ToolCall<'a>>,
    /// For an assistant: a refusal instead of an answer.
    pub refusal: Option<Str<'a>>,
    /// For an assistant: its reasoning as text, without what a minter needs to believe it.
    pub reasoning: Option<Str<'a>>,
    /// For an assistant: its reasoning as it must travel back, in order.
    pub details: Vec<Detail<'a>>,
    /// For an assistant: the images it made, in order.
    pub images: Vec<Image<'a>>,
    /// A vendor's cache mark on the whole message, as written.
    pub cache_control: Option<&'a RawValue>,
}

/// One part of a message's content.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// What it is.
    pub body: Body<'a>,
    /// A vendor's cache mark, as written.
    pub cache_control: Option<&'a RawValue>,
    /// All of it, as written; `None` for content that is a plain string.
    pub raw: Option<&'a RawValue>,
}

/// What a part is.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Text.
    Text(Str<'a>),
    /// An image.
    Image(Image<'a>),
    /// Sound, base64.
    Audio {
        /// The bytes.
        data: Str<'a>,
        /// `wav`, `mp3`, ...
        format: Str<'a>,
    },
    /// A document.
    File(File<'a>),
    /// Words of refusal in an earlier answer.
    Refusal(Str<'a>),
    /// A vendor's own kind of part; see [`Part::raw`].
    Other {
        /// `type`
        kind: Str<'a>,
    },
}

/// An image: an https address or a data URL.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Where, or what.
    pub url: Str<'a>,
    /// `low`, `high`, `auto`.
    pub detail: Option<Str<'a>>,
}

/// A document: inline, or known to the vendor by an id.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct File<'a> {
    /// A data URL, or bare base64.
    #[serde(default, borrow)]
    pub file_data: Option<Str<'a>>,
    /// The vendor's id of an uploaded file.
    #[serde(default, borrow)]
    pub file_id: Option<Str<'a>>,
    /// Its name.
    #[serde(default, borrow)]
    pub filename: Option<Str<'a>>,
}

/// A call of a function, or of a custom tool.
#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    /// Joins the call and its result.
    pub id: Str<'a>,
    /// The function.
    pub name: Str<'a>,
    /// Its arguments: JSON in a string, as the model wrote it; `{}` when there were none. For a custom tool its
    /// input, which is any text.
    pub arguments: Str<'a>,
    /// A custom tool is called.
    pub custom: bool,
    /// A vendor's cache mark, as written.
    pub cache_control: Option<&'a RawValue>,
}

/// Media type and base64 of a data URL; `None` when it is none, or not base64.
pub fn data_url(url: &str) -> Option<(&str, &str)> {
    let rest = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and(url.get(5..))?;
    let (head, data) = rest.split_once(',')?;
    let mime = head.strip_suffix(";base64")?;
    // Parameters of the media type (`;charset=...`) are nothing that a model's API takes.
    Some((mime.split(';').next().unwrap_or(mime), data))
}

impl Image<'_> {
    /// True when the image is given by an address that can be fetched.
    pub fn is_https(&self) -> bool {
        self.url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }

    /// Media type and base64, when the image is inline.
    pub fn data_url(&self) -> Option<(&str, &str)> {
        data_url(&self.url)
    }
}

impl File<'_> {
    /// Media type and base64, when the document is inline. Bare base64 is taken for PDF, OpenAI's own default.
    pub fn inline(&self) -> Option<(&str, &str)> {
        let data = self.file_data.as_deref()?;
        if data.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
            return data_url(data);
        }
        Some(("application/pdf", data))
    }
}

impl ToolCall<'_> {
    /// The arguments as a JSON object: `{}` for none, `None` when the model wrote something else.
    pub fn object(&self) -> Option<&RawValue> {
        let written = self.arguments.trim();
        let written = if written.is_empty() { "{}" } else { written };
        serde_json::from_str::<&RawValue>(written).ok().filter(|raw| raw.get().starts_with('{'))
    }
}

impl Message<'_> {
    /// Its text parts, joined.
    pub fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match &part.body {
            Body::Text(text) | Body::Refusal(text) => Some(text.as_ref()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("")
    }
}

#[derive(Deserialize)]
struct Written<'a> {
    role: Role,
    #[serde(default, borrow)]
    content: Content<'a>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    tool_call_id: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WrittenCall<'a>>>,
    #[serde(borrow)]
    function_call: Option<WrittenFunction<'a>>,
    #[serde(borrow)]
    refusal: Option<Str<'a>>,
    #[serde(borrow)]
    reasoning: Option<Str<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Str<'a>>,
    #[serde(borrow)]
    reasoning_details: Option<Vec<Detail<'a>>>,
    #[serde(borrow)]
    images: Option<Vec<WrittenImage<'a>>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

/// An image of an earlier answer, as the answer had it.
#[derive(Deserialize)]
struct WrittenImage<'a> {
    #[serde(borrow)]
    image_url: Option<Image<'a>>,
}

#[derive(Deserialize)]
struct WrittenCall<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    function: Option<WrittenFunction<'a>>,
    #[serde(borrow)]
    custom: Option<WrittenCustom<'a>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WrittenCustom<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    input: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct WrittenFunction<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct WrittenPart<'a> {
    #[serde(rename = "type", borrow)]
    kind: Str<'a>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    refusal: Option<Str<'a>>,
    #[serde(borrow)]
    image_url: Option<Image<'a>>,
    #[serde(borrow)]
    input_audio: Option<Audio<'a>>,
    #[serde(borrow)]
    file: Option<File<'a>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Str<'a>,
    #[serde(borrow)]
    format: Option<Str<'a>>,
}

/// `content`: a string, null, or parts.
#[derive(Default)]
enum Content<'a> {
    #[default]
    Absent,
    Text(Str<'a>),
    Parts(Vec<&'a RawValue>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Content<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, null or an array of content parts")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Content<'de>, E> {
                Ok(Content::Absent)
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'de>, E> {
                Ok(Content::Text(text.into()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'de>, E> {
                Ok(Content::Text(text.to_owned().into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'de>, A::Error> {
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

impl<'de: 'a, 'a> Deserialize<'de> for Image<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            url: Str<'a>,
            #[serde(borrow)]
            detail: Option<Str<'a>>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Image<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `url`")
            }
            fn visit_borrowed_str<E: de::Error>(self, url: &'de str) -> Result<Image<'de>, E> {
                Ok(Image { url: url.into(), detail: None })
            }
            fn visit_str<E: de::Error>(self, url: &str) -> Result<Image<'de>, E> {
                Ok(Image { url: url.to_owned().into(), detail: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Image<'de>, A::Error> {
                let object = Object::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Image { url: object.url, detail: object.detail })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads `messages`.
pub(super) fn read(written: &str) -> Result<Vec<Message<'_>>, Error> {
    let list: Vec<Written<'_>> = typed("messages", written)?;
    list.into_iter().enumerate().map(|(at, one)| message(at, one)).collect()
}

fn message(at: usize, written: Written<'_>) -> Result<Message<'_>, Error> {
    let parts = match written.content {
        Content::Absent => Vec::new(),
        Content::Text(text) => vec![Part { body: Body::Text(text), cache_control: None, raw: None }],
        Content::Parts(list) => {
            let read = |(inner, raw)| part(&format!("messages[{at}].content[{inner}]"), raw);
            list.into_iter().enumerate().map(read).collect::<Result<_, _>>()?
        }
    };
    let mut tool_calls: Vec<ToolCall<'_>> =
        written.tool_calls.into_iter().flatten().filter_map(call).collect();
    // The legacy pair of a call and its result has no id: the function's name joins them.
    let legacy = |name: &str| Str::from(format!("function_{name}"));
    if let Some(WrittenFunction { name, arguments }) = written.function_call {
        let arguments = arguments.unwrap_or_else(|| "{}".into());
        tool_calls.push(ToolCall { id: legacy(&name), name, arguments, custom: false, cache_control: None });
    }
    let (role, tool_call_id) = match written.role {
        Role::Function => (Role::Tool, Some(legacy(written.name.as_deref().unwrap_or_default()))),
        role => (role, written.tool_call_id),
    };
    Ok(Message {
        role,
        parts,
        name: written.name,
        tool_call_id,
        tool_calls,
        refusal: written.refusal,
        reasoning: written.reasoning.or(written.reasoning_content),
        details: written.reasoning_details.unwrap_or_default(),
        images: written.images.into_iter().flatten().filter_map(|image| image.image_url).collect(),
        cache_control: written.cache_control,
    })
}

fn call(written: WrittenCall<'_>) -> Option<ToolCall<'_>> {
    let (name, arguments, custom) = match (written.function, written.custom) {
        (Some(function), _) => (function.name, function.arguments.unwrap_or_else(|| "{}".into()), false),
        (None, Some(custom)) => (custom.name, custom.input.unwrap_or_default(), true),
        (None, None) => return None,
    };
    let id = written.id.unwrap_or_default();
    Some(ToolCall { id, name, arguments, custom, cache_control: written.cache_control })
}

fn part<'a>(path: &str, raw: &'a RawValue) -> Result<Part<'a>, Error> {
    let written: WrittenPart<'a> = typed(path, raw.get())?;
    let WrittenPart { kind, text, refusal, image_url, input_audio, file, cache_control } = written;
    let body = match kind.as_ref() {
        "text" => text.map(Body::Text),
        "refusal" => refusal.map(Body::Refusal),
        "image_url" => image_url.map(Body::Image),
        "input_audio" => input_audio.map(|audio| Body::Audio {
            data: audio.data,
            format: audio.format.unwrap_or_else(|| "wav".into()),
        }),
        "file" => file.map(Body::File),
        _ => None,
    };
    Ok(Part { body: body.unwrap_or(Body::Other { kind }), cache_control, raw: Some(raw) })
}
