//! The top-level fields of a chat request that the gateway knows: one table, and checks of their values.
//!
//! A field that is not in the table is kept and sent on untouched.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::json::scan::Cursor;

/// What a field's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON string.
    Text,
    /// A JSON number.
    Number,
    /// A whole number, negative allowed.
    Integer,
    /// A whole number from 1.
    Positive,
    /// true or false.
    Bool,
    /// A JSON array.
    Array,
    /// A JSON object.
    Object,
    /// A string or an array.
    TextOrArray,
    /// A string or an object.
    TextOrObject,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the request.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Must be there and not null.
    pub required: bool,
    /// The gateway's own: never sent upstream.
    pub ours: bool,
}

/// A field that is passed on.
const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false, ours: false }
}

/// The table, in the order of the API reference.
pub const FIELDS: &[Field] = &[
    Field { required: true, ..field("model", Kind::Text) },
    Field { required: true, ..field("messages", Kind::Array) },
    field("temperature", Kind::Number),
    field("max_tokens", Kind::Positive),
    field("top_p", Kind::Number),
    field("frequency_penalty", Kind::Number),
    field("presence_penalty", Kind::Number),
    field("max_completion_tokens", Kind::Positive),
    field("n", Kind::Positive),
    field("stop", Kind::TextOrArray),
    field("seed", Kind::Integer),
    field("logprobs", Kind::Bool),
    field("top_logprobs", Kind::Integer),
    field("logit_bias", Kind::Object),
    field("user", Kind::Text),
    field("parallel_tool_calls", Kind::Bool),
    field("stream_options", Kind::Object),
    field("service_tier", Kind::Text),
    field("prompt_cache_key", Kind::Text),
    field("metadata", Kind::Object),
    field("modalities", Kind::Array),
    field("prediction", Kind::Object),
    field("store", Kind::Bool),
    field("verbosity", Kind::Text),
    field("web_search_options", Kind::Object),
    field("audio", Kind::Object),
    field("response_format", Kind::Object),
    field("stream", Kind::Bool),
    field("tools", Kind::Array),
    field("tool_choice", Kind::TextOrObject),
    field("reasoning_effort", Kind::Text),
    Field { ours: true, ..field("free_models_only", Kind::Bool) },
    Field { ours: true, ..field("fallbacks", Kind::Array) },
    Field { ours: true, ..field("routing", Kind::Text) },
];

/// Fallback models at most.
const FALLBACKS_MAX: usize = 16;

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// Checks the kind of a non-null value by its first byte; the value is known to be JSON.
pub fn check(field: &Field, value: &str) -> Result<(), Error> {
    let first = value.bytes().next().unwrap_or(b' ');
    let number = first == b'-' || first.is_ascii_digit();
    let (fits, wanted) = match field.kind {
        Kind::Text => (first == b'"', "a string"),
        Kind::Number => (number, "a number"),
        Kind::Integer => {
            (number && value.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()), "an integer")
        }
        Kind::Positive => {
            (value.bytes().all(|byte| byte.is_ascii_digit()) && value != "0", "a positive integer")
        }
        Kind::Bool => (first == b't' || first == b'f', "true or false"),
        Kind::Array => (first == b'[', "an array"),
        Kind::Object => (first == b'{', "an object"),
        Kind::TextOrArray => (first == b'"' || first == b'[', "a string or an array of strings"),
        Kind::TextOrObject => (first == b'"' || first == b'{', "a string or an object"),
    };
    if fits {
        return Ok(());
    }
    let is = kind_of(first);
    Err(Error::invalid(
        format!("Invalid type for `{}`: expected {wanted}, but got {is}.", field.name),
        field.name,
    ))
}

/// The kind of a written JSON value, in words.
fn kind_of(first: u8) -> &'static str {
    match first {
        b'"' => "a string",
        b'{' => "an object",
        b'[' => "an array",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "another number",
    }
}

/// Reads a value into a type; on failure reads it again, slowly, to name the path.
pub fn typed<'a, T: Deserialize<'a>>(name: &str, value: &'a str) -> Result<T, Error> {
    serde_json::from_str(value).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_str(value);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| path_error(name, &error))
    })
}

/// 400 naming the path below `name`.
fn path_error(name: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let path = error.path().to_string();
    let param = match path.as_str() {
        "." | "?" => name.to_owned(),
        inner if inner.starts_with('[') => format!("{name}{inner}"),
        inner => format!("{name}.{inner}"),
    };
    let inner = error.inner();
    let reason = inner.to_string();
    let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
    if inner.is_data() {
        let reason = without_value(reason);
        Error::invalid(format!("Invalid value for `{param}`: {reason}."), param)
    } else {
        Error::InvalidRequest {
            message: format!("The body is not valid JSON, in `{param}`: {reason}."),
            param: Some(param),
            code: Some("invalid_json"),
        }
    }
}

/// A complaint of serde's without the value it repeats: that may be a prompt, and of any size.
fn without_value(reason: &str) -> String {
    // The value comes before the last `expected`; a name that is missing or given twice is one of ours.
    match reason.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None if reason.starts_with("missing field") || reason.starts_with("duplicate field") => {
            reason.to_owned()
        }
        None => "it cannot be read".to_owned(),
    }
}

/// A string value, decoded.
pub fn string(name: &str, value: &str) -> Result<String, Error> {
    match Cursor::new(value).string().and_then(|written| written.plain()) {
        Some(text) => Ok(text.to_owned()),
        None => typed(name, value),
    }
}

/// A whole number from 1.
pub fn positive(name: &str, value: &str) -> Result<u64, Error> {
    value.parse().map_err(|_| Error::invalid(format!("`{name}` is too large."), name))
}

/// An array of strings.
pub fn strings(name: &str, value: &str) -> Result<Vec<String>, Error> {
    let list: Vec<String> = typed(name, value)?;
    if list.len() > FALLBACKS_MAX {
        return Err(Error::invalid(format!("`{name}` takes at most {FALLBACKS_MAX} entries."), name));
    }
    Ok(list)
}

/// `stop`: a string or up to 4.
pub fn stop(value: &str) -> Result<(), Error> {
    if value.starts_with('[') {
        let list: Vec<super::message::Text> = typed("stop", value)?;
        if list.len() > 4 {
            return Err(Error::invalid("`stop` takes at most 4 sequences.", "stop"));
        }
    }
    Ok(())
}

/// `stream_options`: whether usage is asked for.
pub fn stream_options(value: &str) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct StreamOptions {
        include_usage: Option<bool>,
    }
    Ok(typed::<StreamOptions>("stream_options", value)?.include_usage.unwrap_or(false))
}

/// `response_format`: whether it needs the `json_schema` capability.
pub fn response_format(value: &str) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct JsonSchema {
        name: Option<super::message::Text>,
        #[expect(dead_code, reason = "read only to check its type")]
        strict: Option<bool>,
        schema: Option<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct ResponseFormat {
        r#type: String,
        json_schema: Option<JsonSchema>,
    }
    let format: ResponseFormat = typed("response_format", value)?;
    if format.r#type != "json_schema" {
        return Ok(false);
    }
    let missing = |what: &str| {
        Error::invalid(
            format!("Missing required parameter: `response_format.{what}`."),
            format!("response_format.{what}"),
        )
    };
    let schema = format.json_schema.ok_or_else(|| missing("json_schema"))?;
    if schema.name.is_none() && schema.schema.is_none() {
        return Err(missing("json_schema.schema"));
    }
    Ok(true)
}

/// `tool_choice`: one of the words, or an object with a type.
pub fn tool_choice(value: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Function {
        #[expect(dead_code, reason = "read only to check that it is there")]
        name: String,
    }
    #[derive(Deserialize)]
    struct Choice {
        r#type: String,
        function: Option<Function>,
    }
    if value.starts_with('"') {
        let word = string("tool_choice", value)?;
        // `any` is what some vendors call `required`; it is passed on.
        return match word.as_str() {
            "auto" | "none" | "required" | "any" => Ok(()),
            _ => Err(Error::invalid("`tool_choice` is not one of auto, none, required.", "tool_choice")),
        };
    }
    let choice: Choice = typed("tool_choice", value)?;
    if choice.r#type == "function" && choice.function.is_none() {
        return Err(Error::invalid(
            "Missing required parameter: `tool_choice.function`.",
            "tool_choice.function",
        ));
    }
    Ok(())
}
