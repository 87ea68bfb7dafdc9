//! Typed reading of a checked tree. A key that is not given, or is wrong (and reported elsewhere), reads as its default.

use std::time::Duration;

use serde_json::Value;

use super::schema;
use super::value::{self, Typed};

/// Reads keys below one place of the tree.
pub struct Reader<'a> {
    tree: &'a Value,
    prefix: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads below `tree`, whose place in the table is `prefix`, e.g. `providers.*.` or nothing.
    pub fn new(tree: &'a Value, prefix: &'static str) -> Self {
        Self { tree, prefix }
    }

    /// The value given for `key`, unread.
    pub fn given(&self, key: &str) -> Option<&'a Value> {
        key.split('.').try_fold(self.tree, |at, name| at.get(name)).filter(|value| !value.is_null())
    }

    /// The value given for `key`, read.
    pub fn typed_given(&self, key: &str) -> Option<Typed> {
        let kind = schema::find(&format!("{}{key}", self.prefix))?.kind;
        value::read(kind, self.given(key)?).ok()
    }

    fn typed(&self, key: &str) -> Option<Typed> {
        self.typed_given(key).or_else(|| {
            let key = schema::find(&format!("{}{key}", self.prefix))?;
            value::read(key.kind, &Value::String(key.default?.to_owned())).ok()
        })
    }

    /// A text, path, address, reference or word.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.typed(key) {
            Some(Typed::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`; false without a default.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.typed(key), Some(Typed::Bool(true)))
    }

    /// A number or size; `None` for `auto` and without a default.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.typed(key) {
            Some(Typed::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// A number that counts things in memory; zero without a default.
    pub fn count(&self, key: &str) -> usize {
        self.number(key).and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
    }

    /// A duration; zero without a default.
    pub fn duration(&self, key: &str) -> Duration {
        match self.typed(key) {
            Some(Typed::Duration(duration)) => duration,
            _ => Duration::ZERO,
        }
    }

    /// A list of percentages; none without a default.
    pub fn percentages(&self, key: &str) -> Vec<u8> {
        match self.typed(key) {
            Some(Typed::Percentages(percentages)) => percentages,
            _ => Vec::new(),
        }
    }

    /// A list of texts.
    pub fn names(&self, key: &str) -> Option<Vec<String>> {
        match self.typed(key) {
            Some(Typed::Names(names)) => Some(names),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_of_the_table_is_a_value_of_its_kind() {
        for key in schema::keys() {
            let Some(default) = key.default else { continue };
            let read = value::read(key.kind, &Value::String(default.to_owned()));
            assert!(read.is_ok(), "{}: {read:?}", key.path);
        }
    }
}
