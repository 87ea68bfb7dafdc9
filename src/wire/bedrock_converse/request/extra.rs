//! Fields beside the conversation: the model's own ones, the service tier, metadata.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Given;
use super::thinking::Thinking;
use crate::chat::conversation::Str;
use crate::chat::fields::typed;
use crate::error::Error;
use crate::wire::encode::Notes;

/// Entries of `requestMetadata` at most, and characters of a key or a value.
const METADATA_MAX: usize = 16;
const METADATA_CHARS_MAX: usize = 256;

/// The members of an object, in order, their values as written.
struct Object<'a>(Vec<(Str<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// `additionalModelRequestFields`: the client's own, and what thinking needs beside them.
pub struct Fields<'a> {
    given: Vec<(Str<'a>, &'a RawValue)>,
    thinking: Vec<(&'static str, Box<RawValue>)>,
}

impl<'a> Fields<'a> {
    /// The fields that the client gave, also `thinking` where it stands at the top as Anthropic has it.
    pub fn of(given: Given<'a>) -> Result<Self, Error> {
        const NAME: &str = "additionalModelRequestFields";
        let object: Option<Object<'a>> = given.raw(NAME).map(|raw| typed(NAME, raw.get())).transpose()?;
        let mut list = object.map_or_else(Vec::new, |object| object.0);
        if let Some(thinking) = given.raw("thinking")
            && list.iter().all(|(name, _)| *name != "thinking")
        {
            list.push(("thinking".into(), thinking));
        }
        Ok(Self { given: list, thinking: Vec::new() })
    }

    /// A field that the client gave.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.given.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// With what thinking needs; `None` when there is nothing.
    pub fn with(mut self, thinking: &Thinking) -> Option<Self> {
        self.thinking = thinking.fields();
        self.thinking.retain(|(name, _)| self.given.iter().all(|(known, _)| known != name));
        (!self.given.is_empty() || !self.thinking.is_empty()).then_some(self)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.given.len() + self.thinking.len()))?;
        for (name, value) in &self.given {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in &self.thinking {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// `serviceTier`
#[derive(Serialize)]
pub struct Tier {
    r#type: &'static str,
}

/// The service tier; one that the vendor does not have is named. OpenAI's `auto` and `default` ask for nothing.
pub fn tier(given: Given<'_>, notes: &mut Notes) -> Option<Tier> {
    let word = given.0.conversation.string("service_tier").filter(|_| given.takes("service_tier"))?;
    let r#type = match word.as_ref() {
        "auto" | "default" => return None,
        "flex" => "flex",
        "priority" => "priority",
        "reserved" => "reserved",
        _ => {
            notes.drop_param("service_tier");
            return None;
        }
    };
    Some(Tier { r#type })
}

/// `requestMetadata`, by which invocation logs can be searched: the vendor's own field, else OpenAI's `metadata` where
/// it fits the alphabet.
pub fn metadata<'a>(given: Given<'a>, notes: &mut Notes) -> Option<&'a RawValue> {
    if let Some(own) = given.raw("requestMetadata") {
        if given.raw("metadata").is_some() {
            notes.drop_param("metadata");
        }
        return Some(own);
    }
    let metadata = given.raw("metadata").filter(|raw| raw.get() != "{}")?;
    let fits = |text: &str, least: usize| {
        let known =
            |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
        (least..=METADATA_CHARS_MAX).contains(&text.len()) && text.chars().all(known)
    };
    let all_fit = serde_json::from_str::<Object<'_>>(metadata.get()).is_ok_and(|object| {
        object.0.len() <= METADATA_MAX
            && object.0.iter().all(|(name, value)| {
                fits(name, 1) && serde_json::from_str::<Str<'_>>(value.get()).is_ok_and(|text| fits(&text, 0))
            })
    });
    if !all_fit {
        notes.drop_param("metadata");
    }
    Some(metadata).filter(|_| all_fit)
}
