//! A list of attributes under construction.

use crate::telemetry::json::{escape, escaped};

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

    /// Begins one of this kind. An operator may have given the name.
    fn begin(&mut self, name: &str, kind: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str("{\"key\":\"");
        escape(name, &mut self.0);
        for part in ["\",\"value\":{\"", kind, "\":"] {
            self.0.push_str(part);
        }
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.begin(name, "stringValue");
        self.0.push('"');
        escape(value, &mut self.0);
        self.0.push_str("\"}}");
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
        self.begin(name, "intValue");
        for part in ["\"", itoa::Buffer::new().format(value), "\"}}"] {
            self.0.push_str(part);
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.begin(name, "boolValue");
        self.0.push_str(if value { "true}}" } else { "false}}" });
    }

    /// The list as JSON.
    pub fn finish(mut self) -> String {
        self.0.push(']');
        self.0
    }
}

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}
