//! An example of what a JSON schema describes.

use serde_json::{Map, Value, json};

/// How deep an example goes.
const DEPTH_MAX: usize = 16;

/// A value that fits a schema of the usual kind; deterministic.
pub fn example(schema: &Value) -> Value {
    value(schema, schema, 0)
}

fn value(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| value(found, root, depth + 1));
    }
    for fixed in ["const", "default"] {
        if let Some(fixed) = schema.get(fixed) {
            return fixed.clone();
        }
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    for choice in ["/anyOf/0", "/oneOf/0", "/allOf/0"] {
        if let Some(first) = schema.pointer(choice) {
            return value(first, root, depth + 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        other => other.and_then(Value::as_str),
    };
    match kind {
        Some("object") => object(schema, root, depth),
        Some("array") => array(schema, root, depth),
        Some("string") => Value::String(text(schema)),
        Some("integer") => json!(minimum(schema) as i64),
        Some("number") => json!(minimum(schema)),
        Some("boolean") => json!(true),
        None if schema.get("properties").is_some() => object(schema, root, depth),
        _ => Value::Null,
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let members = schema.get("properties").and_then(Value::as_object);
    let members =
        members.into_iter().flatten().map(|(name, schema)| (name.clone(), value(schema, root, depth + 1)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn array(schema: &Value, root: &Value, depth: usize) -> Value {
    let items = schema.get("items").or_else(|| schema.pointer("/prefixItems/0"));
    let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 8);
    let item = items.map_or(Value::Null, |items| value(items, root, depth + 1));
    Value::Array((0..count).map(|_| item.clone()).collect())
}

fn text(schema: &Value) -> String {
    let fixed = match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2026-01-31",
        Some("date-time") => "2026-01-31T12:00:00Z",
        Some("time") => "12:00:00",
        Some("email") => "someone@example.com",
        Some("uri") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "example",
    };
    let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0).min(1024);
    let mut text = fixed.to_owned();
    while (text.len() as u64) < least {
        text.push('x');
    }
    text
}

/// The least number allowed, or 1.
fn minimum(schema: &Value) -> f64 {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + 1.0)).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_fits_its_schema() {
        for (schema, expected) in [
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "minimum": 3}}}),
                json!({"a": "example", "b": 3}),
            ),
            (json!({"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2}), json!(["x", "x"])),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": ["boolean", "null"]}}}), json!(true)),
            (json!({"anyOf": [{"type": "number"}, {"type": "null"}]}), json!(1.0)),
            (json!({"type": "string", "format": "date"}), json!("2026-01-31")),
            (json!({}), Value::Null),
        ] {
            assert_eq!(example(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let schema = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}}});
        assert!(example(&schema).is_object());
    }
}
