//! The fields of a JSON body, taken out one by one; whatever is left over is an error.
//!
//! By hand and not by derive, because a change must tell "not given" from "null", and an error must name the
//! path of its field.

use std::num::NonZeroU32;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::json::Members;
use crate::rfc3339;

/// `None`: not given. `Some(None)`: null.
pub(super) type Change<T> = Option<Option<T>>;

/// The fields not yet taken of one object.
#[derive(Debug)]
pub(super) struct Fields {
    map: Map<String, Value>,
    /// The object as it was written: a number's digits are there.
    written: String,
    /// Path of the object, empty for the body itself.
    path: String,
    /// Names that were asked for, for the error that lists them.
    known: Vec<&'static str>,
}

impl Fields {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let text =
                format!("The body is not valid JSON: line {}, column {}.", error.line(), error.column());
            Error::invalid_code(text, None, "invalid_json")
        })?;
        match value {
            Value::Object(map) => {
                let written = String::from_utf8_lossy(body).into_owned();
                Ok(Self { map, written, path: String::new(), known: Vec::new() })
            }
            _ => Err(Error::invalid_code("The body must be a JSON object.", None, "invalid_json")),
        }
    }

    /// Takes a field as it is.
    pub(super) fn take(&mut self, name: &'static str) -> Change<Value> {
        self.known.push(name);
        self.map.remove(name).map(|value| if value.is_null() { None } else { Some(value) })
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Change<String>, Error> {
        self.convert(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// Takes a whole number from 1 to 4294967295.
    pub(super) fn positive(&mut self, name: &'static str) -> Result<Change<NonZeroU32>, Error> {
        let read =
            |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
        self.convert(name, "a whole number from 1 to 4294967295, or null for no limit", read)
    }

    /// Takes one of some words.
    pub(super) fn word<T>(
        &mut self,
        name: &'static str,
        words: &[&str],
        read: fn(&str) -> Option<T>,
    ) -> Result<Change<T>, Error> {
        self.convert(name, &format!("one of {}, or null", words.join(", ")), |value| {
            value.as_str().and_then(read)
        })
    }

    /// Takes `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Change<bool>, Error> {
        self.convert(name, "true or false", Value::as_bool)
    }

    /// Takes a time, in milliseconds since the epoch.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Change<i64>, Error> {
        let read = |value: &Value| value.as_str().and_then(rfc3339::parse_ms);
        self.convert(name, "an RFC 3339 time such as 2030-01-31T00:00:00Z, or null for never", read)
    }

    /// Takes a list of texts; null is the empty list.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Error> {
        let path = self.path_of(name);
        let Some(value) = self.take(name) else { return Ok(None) };
        let items = match value {
            None => return Ok(Some(Vec::new())),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(Error::invalid(format!("`{path}` must be a list of strings."), path)),
        };
        let text = |(at, item): (usize, Value)| match item {
            Value::String(text) => Ok(text),
            _ => Err(Error::invalid(format!("`{path}[{at}]` must be a string."), format!("{path}[{at}]"))),
        };
        items.into_iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// Takes an object of texts; null is the empty one.
    pub(super) fn pairs(&mut self, name: &'static str) -> Result<Option<Vec<(String, String)>>, Error> {
        let path = self.path_of(name);
        let Some(inner) = self.object(name)? else { return Ok(None) };
        let pair = |(key, value): (String, Value)| match value {
            Value::String(text) => Ok((key, text)),
            _ => Err(Error::invalid(format!("`{path}.{key}` must be a string."), format!("{path}.{key}"))),
        };
        inner.map.into_iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// Takes an object; null is the empty one.
    pub(super) fn object(&mut self, name: &'static str) -> Result<Option<Self>, Error> {
        let path = self.path_of(name);
        let map = match self.take(name) {
            None => return Ok(None),
            Some(None) => Map::new(),
            Some(Some(Value::Object(map))) => map,
            Some(Some(_)) => return Err(Error::invalid(format!("`{path}` must be an object."), path)),
        };
        let written = self.written(name);
        Ok(Some(Self { map, written, path, known: Vec::new() }))
    }

    /// Takes an exact decimal: a string, or a number, which is read digit by digit as it was written.
    pub(super) fn decimal<T>(
        &mut self,
        name: &'static str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Change<T>, Error> {
        let written = self.written(name);
        self.convert(name, what, |value| match value {
            Value::String(text) => read(text),
            Value::Number(_) => read(&written),
            _ => None,
        })
    }

    /// Takes a list of whole numbers from 0 to 255; null is not given.
    pub(super) fn percentages(&mut self, name: &'static str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path_of(name);
        let items = match self.take(name).flatten() {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(Error::invalid(format!("`{path}` must be a list of percentages."), path)),
        };
        let percent = |(at, item): (usize, Value)| {
            let wrong = || {
                let message = format!("`{path}[{at}]` must be a whole number from 1 to 100.");
                Error::invalid(message, format!("{path}[{at}]"))
            };
            item.as_u64().and_then(|number| u8::try_from(number).ok()).ok_or_else(wrong)
        };
        items.into_iter().enumerate().map(percent).collect::<Result<_, _>>().map(Some)
    }

    /// True for a field that is given as null.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(Value::is_null)
    }

    /// How a field was written; nothing where that cannot be told.
    fn written(&self, name: &str) -> String {
        let members = Members::parse(&self.written).ok();
        members.and_then(|members| members.get(&self.written, name).map(str::to_owned)).unwrap_or_default()
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        let short: String = name.chars().take(64).collect();
        let near = self.known.iter().find(|known| strsim::damerau_levenshtein(known, &short) <= 2);
        let hint = match near {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Known here: {}.", self.known.join(", ")),
        };
        Err(Error::invalid(format!("Unknown field `{short}`. {hint}"), self.path_of(&short)))
    }

    fn convert<T>(
        &mut self,
        name: &'static str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Change<T>, Error> {
        let path = self.path_of(name);
        match self.take(name) {
            None => Ok(None),
            Some(None) => Ok(Some(None)),
            Some(Some(value)) => match read(&value) {
                Some(value) => Ok(Some(Some(value))),
                None => Err(Error::invalid(format!("`{path}` must be {what}."), path)),
            },
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
