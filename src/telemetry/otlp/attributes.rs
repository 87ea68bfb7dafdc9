//! A list of attributes under construction.

use std::fmt::Write as _;

use serde_json::Value;

/// A list of attributes under construction.
#[derive(Debug)]
pub struct Attributes(String);

impl Default for Attributes {
    fn default() -> Self {
        Self::new()
    }
}

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self("[".to_owned())
    }

    fn put(&mut self, name: &str, kind: &str, value: std::fmt::Arguments<'_>) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(self.0, "{{\"key\":{},\"value\":{{\"{kind}\":{value}}}}}", quoted(name));
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.put(name, "stringValue", format_args!("{}", quoted(value)));
    }

    /// A text, if there is one.
    pub fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.put(name, "intValue", format_args!("\"{value}\""));
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.put(name, "boolValue", format_args!("{value}"));
    }

    /// The list as JSON.
    pub fn finish(mut self) -> String {
        self.0.push(']');
        self.0
    }
}

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
