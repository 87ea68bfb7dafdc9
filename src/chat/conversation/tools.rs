//! Tools, the choice among them, and the form the answer must have.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Str;
use crate::chat::fields::typed;
use crate::error::Error;

/// One entry of `tools`.
#[derive(Clone, Debug)]
pub enum Tool<'a> {
    /// A function of the client's.
    Function {
        /// Its name.
        name: Str<'a>,
        /// What it is for.
        description: Option<Str<'a>>,
        /// JSON schema of its arguments, as written; `None`: it takes none.
        parameters: Option<&'a RawValue>,
        /// Arguments must fit the schema exactly.
        strict: Option<bool>,
        /// A vendor's cache mark, as written.
        cache_control: Option<&'a RawValue>,
    },
    /// A vendor's own kind of tool, as written.
    Other {
        /// `type`
        kind: Str<'a>,
        /// All of it.
        raw: &'a RawValue,
    },
}

/// `tool_choice`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// Not given.
    #[default]
    Unset,
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This function.
    Function(Str<'a>),
}

/// `response_format`.
#[derive(Clone, Debug, Default)]
pub enum ResponseFormat<'a> {
    /// Text, or not given.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// Its name.
        name: Option<Str<'a>>,
        /// What it is for.
        description: Option<Str<'a>>,
        /// The schema, as written.
        schema: Option<&'a RawValue>,
        /// Must fit exactly.
        strict: Option<bool>,
    },
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    description: Option<Str<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

/// Reads `tools`.
pub(super) fn read(written: &str) -> Result<Vec<Tool<'_>>, Error> {
    let list: Vec<&RawValue> = typed("tools", written)?;
    let mut tools = Vec::with_capacity(list.len());
    for (at, raw) in list.into_iter().enumerate() {
        let one: Written<'_> = typed(&format!("tools[{at}]"), raw.get())?;
        tools.push(match (one.function, one.kind) {
            (Some(function), _) => Tool::Function {
                name: function.name,
                description: function.description,
                parameters: function.parameters.filter(|schema| schema.get() != "null"),
                strict: function.strict,
                cache_control: one.cache_control.or(function.cache_control),
            },
            (None, kind) => Tool::Other { kind: kind.unwrap_or_default(), raw },
        });
    }
    Ok(tools)
}

impl<'a> ToolChoice<'a> {
    /// Reads `tool_choice`. What only a vendor knows counts as not given: the fields' table names it as dropped.
    pub(super) fn read(written: &'a str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            name: Str<'a>,
        }
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            function: Option<Named<'a>>,
        }
        if written.starts_with('"') {
            let word: Str<'_> = typed("tool_choice", written)?;
            return Ok(match word.as_ref() {
                "auto" => Self::Auto,
                "none" => Self::None,
                "required" | "any" => Self::Required,
                _ => Self::Unset,
            });
        }
        let object: Object<'a> = typed("tool_choice", written)?;
        Ok(object.function.map_or(Self::Unset, |function| Self::Function(function.name)))
    }

    /// True when a tool must be called.
    pub fn forces(&self) -> bool {
        matches!(self, Self::Required | Self::Function(_))
    }
}

impl<'a> ResponseFormat<'a> {
    /// Reads `response_format`.
    pub(super) fn read(written: &'a str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Schema<'a> {
            #[serde(borrow)]
            name: Option<Str<'a>>,
            #[serde(borrow)]
            description: Option<Str<'a>>,
            #[serde(borrow)]
            schema: Option<&'a RawValue>,
            strict: Option<bool>,
        }
        #[derive(Deserialize)]
        struct Format<'a> {
            #[serde(rename = "type", borrow)]
            kind: Str<'a>,
            #[serde(borrow)]
            json_schema: Option<Schema<'a>>,
        }
        let format: Format<'a> = typed("response_format", written)?;
        match format.kind.as_ref() {
            "text" => Ok(Self::Text),
            "json_object" => Ok(Self::JsonObject),
            "json_schema" => {
                let schema = format.json_schema;
                let Some(Schema { name, description, schema, strict }) = schema else {
                    return Ok(Self::JsonObject);
                };
                Ok(Self::JsonSchema { name, description, schema, strict })
            }
            _ => Err(Error::invalid(
                "`response_format.type` is not one of text, json_object, json_schema.",
                "response_format.type",
            )),
        }
    }
}
