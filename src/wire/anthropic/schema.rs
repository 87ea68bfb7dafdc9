//! JSON schemas as the API takes them where it holds the model to them: every object is closed, and bounds of numbers,
//! strings and lists are not known. What cannot be held is said in the description instead.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A schema, and whether something of it is only said and no longer held.
pub struct Fitted<'a> {
    pub schema: Cow<'a, RawValue>,
    pub loosened: bool,
}

/// Keywords that the API refuses.
const UNKNOWN: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
];

/// Fits a schema. One that needs no change keeps its bytes.
pub fn fit(raw: &RawValue) -> Fitted<'_> {
    let as_written = Fitted { schema: Cow::Borrowed(raw), loosened: false };
    let Ok(mut schema) = serde_json::from_str::<Value>(raw.get()) else { return as_written };
    let mut changes = Changes::default();
    changes.visit(&mut schema);
    if !changes.any {
        return as_written;
    }
    match serde_json::value::to_raw_value(&schema) {
        Ok(schema) => Fitted { schema: Cow::Owned(schema), loosened: changes.loosened },
        Err(_) => as_written,
    }
}

#[derive(Default)]
struct Changes {
    any: bool,
    loosened: bool,
}

impl Changes {
    /// Recursion is bounded by the parser's own depth.
    fn visit(&mut self, schema: &mut Value) {
        let Some(schema) = schema.as_object_mut() else { return };
        self.say_what_cannot_be_held(schema);
        if let Some(choices) = schema.shift_remove("oneOf") {
            schema.entry("anyOf").or_insert(choices);
            self.any = true;
        }
        for name in ["properties", "$defs", "definitions"] {
            if let Some(Value::Object(inner)) = schema.get_mut(name) {
                inner.values_mut().for_each(|inner| self.visit(inner));
            }
        }
        for name in ["anyOf", "allOf"] {
            if let Some(Value::Array(inner)) = schema.get_mut(name) {
                inner.iter_mut().for_each(|inner| self.visit(inner));
            }
        }
        if let Some(items) = schema.get_mut("items") {
            self.visit(items);
        }
        if is_object(schema) && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            // What was never mentioned is hardly missed; what was asked for is.
            self.loosened |= schema.contains_key("additionalProperties");
            self.any = true;
            schema.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
    }

    fn say_what_cannot_be_held(&mut self, schema: &mut Map<String, Value>) {
        let mut said = Vec::new();
        let few = |items: &Value| items.as_u64().is_some_and(|items| items < 2);
        if let Some(items) = schema.get("minItems").filter(|items| !few(items)).cloned() {
            said.push(format!("minItems: {items}"));
            schema.shift_remove("minItems");
        }
        for name in UNKNOWN {
            if let Some(value) = schema.shift_remove(*name) {
                said.push(format!("{name}: {value}"));
            }
        }
        if said.is_empty() {
            return;
        }
        (self.any, self.loosened) = (true, true);
        let mut description =
            schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !description.is_empty() {
            description.push(' ');
        }
        description.push_str(&format!("({})", said.join(", ")));
        schema.insert("description".to_owned(), Value::String(description));
    }
}

fn is_object(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => schema.contains_key("properties"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_closed_and_say_what_they_cannot_hold() {
        let closed =
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
        for (given, sent, loosened) in [
            (closed.clone(), closed, false),
            (json!({"type": "object"}), json!({"type": "object", "additionalProperties": false}), false),
            (
                json!({"type": "array", "minItems": 1, "items": {"type": ["object", "null"], "additionalProperties": true}}),
                json!({"type": "array", "minItems": 1, "items": {"type": ["object", "null"], "additionalProperties": false}}),
                true,
            ),
            (
                json!({"type": "object", "additionalProperties": false, "properties": {"minimum": {"type": "integer", "description": "Age.", "minimum": 1, "maximum": 9}}}),
                json!({"type": "object", "additionalProperties": false, "properties": {"minimum": {"type": "integer", "description": "Age. (minimum: 1, maximum: 9)"}}}),
                true,
            ),
            (
                json!({"oneOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"properties": {}}}}),
                json!({"$defs": {"x": {"properties": {}, "additionalProperties": false}}, "anyOf": [{"$ref": "#/$defs/x"}]}),
                false,
            ),
        ] {
            let raw = serde_json::value::to_raw_value(&given).unwrap();
            let fitted = fit(&raw);
            let made: Value = serde_json::from_str(fitted.schema.get()).unwrap();
            assert_eq!((made, fitted.loosened), (sent, loosened), "{given}");
        }
        let raw = RawValue::from_string("{ \"type\":\"string\" }".to_owned()).unwrap();
        assert_eq!(fit(&raw).schema.get(), raw.get());
    }
}
