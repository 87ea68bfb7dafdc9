//! Schemas, in the dialect that a model takes.
//!
//! Google has two: JSON schema, with few limits, and an older one made of OpenAPI's words, which knows no
//! references, no unions of types and no further properties. A schema goes as the client wrote it wherever that is
//! understood; it is rewritten only as far as it must be, and never without a bound: references may be circular.

mod openapi;
mod resolve;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::wire::encode::unsupported;

pub use openapi::has_no_members;

/// A schema as it goes upstream.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Schema<'a> {
    /// As the client wrote it.
    Raw(&'a RawValue),
    /// Rewritten.
    Made(Value),
}

/// True when a schema says nothing that OpenAPI's dialect cannot.
pub fn is_openapi(written: &RawValue) -> bool {
    serde_json::from_str(written.get()).is_ok_and(|value| openapi::fits(&value))
}

/// A schema for a model that takes JSON schema.
///
/// # Errors
/// 400 when its references unfold into too much.
pub fn json<'a>(path: &str, written: &'a RawValue, model: &str) -> Result<Schema<'a>, Error> {
    let Ok(value) = serde_json::from_str::<Value>(written.get()) else { return Ok(Schema::Raw(written)) };
    if !resolve::has_accompanied_reference(&value) {
        return Ok(Schema::Raw(written));
    }
    resolve::accompanied(&value).map(Schema::Made).ok_or_else(|| too_large(path, model))
}

/// A schema for a model that takes OpenAPI's dialect only.
///
/// # Errors
/// 400 when its references unfold into too much.
pub fn openapi<'a>(path: &str, written: &'a RawValue, model: &str) -> Result<Schema<'a>, Error> {
    let Ok(value) = serde_json::from_str::<Value>(written.get()) else { return Ok(Schema::Raw(written)) };
    if openapi::fits(&value) {
        return Ok(Schema::Raw(written));
    }
    openapi::rewrite(&value).map(Schema::Made).ok_or_else(|| too_large(path, model))
}

fn too_large(path: &str, model: &str) -> Error {
    unsupported(path, model, "its references unfold into too large a schema")
}
