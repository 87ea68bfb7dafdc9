//! A value of a JSON schema: what a model with structured output would write.

use serde_json::{Map, Value, json};

/// Below it optional properties and further items are left out, so that recursive schemas end.
const DEPTH_OPTIONAL: usize = 6;
/// Below it everything is null.
const DEPTH_MAX: usize = 32;
/// Values made at most.
const NODES_MAX: usize = 10_000;
/// Items or characters made at most because a schema asks for a minimum.
const MINIMUM_MAX: u64 = 1000;

/// A deterministic value that `schema` allows.
pub fn example(schema: &Value) -> Value {
    Maker { root: schema, nodes: 0 }.make(schema, 0)
}

struct Maker<'a> {
    root: &'a Value,
    nodes: usize,
}

impl<'a> Maker<'a> {
    fn make(&mut self, schema: &'a Value, depth: usize) -> Value {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Value::Null;
        }
        if let Some(fixed) =
            schema.get("const").or_else(|| schema.get("enum").and_then(|values| values.get(0)))
        {
            return fixed.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return match target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => self.make(target, depth + 1),
                None => Value::Null,
            };
        }
        let branches = ["anyOf", "oneOf"].iter().find_map(|word| schema.get(word)?.as_array());
        if let Some(branch) = branches.and_then(|branches| branch(branches, depth)) {
            return self.make(branch, depth + 1);
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(parts, depth);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => string(schema).into(),
            "integer" => number(schema, true),
            "number" => number(schema, false),
            "boolean" => true.into(),
            _ => Value::Null,
        }
    }

    fn all_of(&mut self, parts: &'a [Value], depth: usize) -> Value {
        let mut merged = Map::new();
        let mut last = Value::Null;
        for part in parts {
            match self.make(part, depth + 1) {
                Value::Object(object) => merged.extend(object),
                Value::Null => {}
                other => last = other,
            }
        }
        if merged.is_empty() { last } else { merged.into() }
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
        let mut object = Map::new();
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if depth < DEPTH_OPTIONAL || is_required(name) {
                object.insert(name.clone(), self.make(below, depth + 1));
            }
        }
        object.into()
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Value {
        if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
            return items.iter().map(|item| self.make(item, depth + 1)).collect();
        }
        let least = schema.get("minItems").and_then(Value::as_u64);
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let usual = u64::from(depth < DEPTH_OPTIONAL);
        let count = least.unwrap_or(usual).max(usual).min(most).min(MINIMUM_MAX);
        match schema.get("items") {
            Some(items) => (0..count).map(|_| self.make(items, depth + 1)).collect(),
            None => json!([]),
        }
    }
}

/// The first branch; deep down the one that ends soonest.
fn branch(branches: &[Value], depth: usize) -> Option<&Value> {
    let flat = |branch: &&Value| !matches!(kind(branch), "object" | "array") && branch.get("$ref").is_none();
    let ending = if depth < DEPTH_OPTIONAL { None } else { branches.iter().find(flat) };
    ending.or_else(|| branches.first())
}

/// `type`, the first of a list that is not null, or what the keywords suggest.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ if schema.as_object().is_some_and(Map::is_empty) || schema == &Value::Bool(true) => "string",
        _ => "null",
    }
}

fn string(schema: &Value) -> String {
    let text = match schema.get("format").and_then(Value::as_str).unwrap_or("") {
        "date" => "2026-01-31",
        "date-time" => "2026-01-31T12:00:00Z",
        "time" => "12:00:00Z",
        "duration" => "PT1H",
        "email" => "stub@example.com",
        "hostname" => "example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "url" => "https://example.com/",
        "uuid" => "00000000-0000-4000-8000-000000000000",
        _ => "text",
    };
    let bound = |word: &str| schema.get(word).and_then(Value::as_u64);
    let least = bound("minLength").unwrap_or(0).min(MINIMUM_MAX);
    let most = bound("maxLength").unwrap_or(MINIMUM_MAX).min(MINIMUM_MAX);
    let padded = text.chars().chain(std::iter::repeat('x'));
    let length = (text.len() as u64).max(least).min(most);
    padded.take(usize::try_from(length).unwrap_or(0)).collect()
}

fn number(schema: &Value, whole: bool) -> Value {
    let bound = |word: &str| schema.get(word).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    let unit = step.unwrap_or(1.0);
    let mut number = unit;
    if let Some(most) = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - unit)) {
        number = number.min(most);
    }
    if let Some(least) = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + unit)) {
        number = number.max(least);
    }
    if let Some(step) = step {
        number = (number / step).ceil() * step;
    } else if whole {
        number = number.ceil();
    }
    // A whole number is written without a fraction: typed clients insist.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if whole && number.abs() <= WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "bounded by WHOLE_MAX in the line above")]
        return (number as i64).into();
    }
    json!(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keyword_shapes_the_value() {
        for (schema, expected) in [
            (
                json!({"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "boolean"}}, "required": ["b"]}),
                json!({"b": 1, "a": true}),
            ),
            (json!({"type": "array", "items": {"enum": ["x", "y"]}}), json!(["x"])),
            (json!({"type": "array", "items": {"const": 0}, "minItems": 3}), json!([0, 0, 0])),
            (json!({"type": "array", "items": {"const": 0}, "maxItems": 0}), json!([])),
            (
                json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}),
                json!(["text", 1.0]),
            ),
            (json!({"type": "string", "format": "date"}), json!("2026-01-31")),
            (json!({"type": "string", "minLength": 6}), json!("textxx")),
            (json!({"type": "string", "maxLength": 2}), json!("te")),
            (json!({"type": ["null", "string"]}), json!("text")),
            (json!({"type": "integer", "minimum": 7}), json!(7)),
            (json!({"type": "integer", "exclusiveMinimum": 7}), json!(8)),
            (json!({"type": "integer", "maximum": -3}), json!(-3)),
            (json!({"type": "integer", "multipleOf": 5, "minimum": 6}), json!(10)),
            (json!({"type": "number", "minimum": 2.5}), json!(2.5)),
            (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), json!(1)),
            (
                json!({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}),
                json!({"a": 1, "b": 2}),
            ),
            (json!({"$ref": "#/$defs/d", "$defs": {"d": {"type": "boolean"}}}), json!(true)),
            (json!({"$ref": "#/nowhere"}), Value::Null),
            (json!({}), json!("text")),
            (Value::Null, Value::Null),
        ] {
            assert_eq!(example(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn recursive_schemas_end() {
        let list = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["next"], "properties": {
            "value": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}});
        let text = example(&list).to_string();
        assert!(text.starts_with(r#"{"value":"text","next":{"#) && text.contains(r#""next":null"#), "{text}");
        let endless = json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}});
        assert!(example(&endless).to_string().len() < 1_000_000);
    }
}
