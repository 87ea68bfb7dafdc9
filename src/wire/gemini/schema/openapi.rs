//! The dialect made of OpenAPI's words.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::resolve::{Budget, follow};

/// Words of the dialect that are taken over as they are.
const PLAIN: [&str; 15] = [
    "title",
    "description",
    "nullable",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "example",
    "default",
    "propertyOrdering",
];
const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];
const FORMATS: [&str; 6] = ["enum", "date-time", "float", "double", "int32", "int64"];

fn is_type(word: &str) -> bool {
    TYPES.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// True when a schema needs no rewriting.
pub fn fits(value: &Value) -> bool {
    let Value::Object(schema) = value else { return false };
    let kind = schema.get("type").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let each = schema.iter().all(|(name, value)| match name.as_str() {
        "type" => value.as_str().is_some_and(is_type),
        "format" => value.as_str().is_some_and(|word| FORMATS.contains(&word)),
        "enum" => {
            kind.as_deref() == Some("string")
                && value.as_array().is_some_and(|words| words.iter().all(Value::is_string))
        }
        "properties" => value.as_object().is_some_and(|all| all.values().all(fits)),
        "required" => {
            let known = |word: &Value| {
                let name = word.as_str().unwrap_or_default();
                schema.get("properties").and_then(|all| all.get(name)).is_some()
            };
            value.as_array().is_some_and(|words| words.iter().all(known))
        }
        "items" => fits(value),
        "anyOf" => value.as_array().is_some_and(|all| all.iter().all(fits)),
        name => PLAIN.contains(&name),
    });
    let whole = match kind.as_deref() {
        Some("object") => {
            schema.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty())
        }
        Some("array") => schema.contains_key("items"),
        Some(_) => true,
        None => schema.contains_key("anyOf"),
    };
    each && whole
}

/// True for the schema of an object that has no members.
pub fn has_no_members(written: &RawValue) -> bool {
    let Ok(Value::Object(schema)) = serde_json::from_str(written.get()) else { return false };
    let empty = |name: &str| schema.get(name).and_then(Value::as_object).is_none_or(Map::is_empty);
    empty("properties") && !schema.contains_key("$ref") && !schema.contains_key("anyOf")
}

/// Rewrites a schema; `None` when it unfolds into too much.
pub fn rewrite(root: &Value) -> Option<Value> {
    schema(root, root, 0, &mut Budget::default())
}

fn schema(value: &Value, root: &Value, depth: usize, budget: &mut Budget) -> Option<Value> {
    budget.enter()?;
    let made = match value {
        Value::Object(written) if written.contains_key("$ref") => match follow(written, root, depth) {
            Some(followed) => schema(&Value::Object(followed), root, depth + 1, budget)?,
            None => json!({"type": "object"}),
        },
        Value::Object(written) if written.contains_key("allOf") => {
            members(&flattened(written, root, depth), root, depth + 1, budget)?
        }
        Value::Object(written) => members(written, root, depth, budget)?,
        // `true`: anything. The dialect has to name a type.
        _ => json!({"type": "string"}),
    };
    budget.leave();
    Some(made)
}

fn members(written: &Map<String, Value>, root: &Value, depth: usize, budget: &mut Budget) -> Option<Value> {
    let mut out = Map::new();
    for (name, value) in written {
        match name.as_str() {
            "type" => kinds(value, &mut out),
            "format" if value.as_str().is_some_and(|word| FORMATS.contains(&word)) => {
                copy(name, value, &mut out)
            }
            "const" => words(std::slice::from_ref(value), &mut out),
            "enum" => words(value.as_array().map_or(&[], Vec::as_slice), &mut out),
            "exclusiveMinimum" if value.is_number() => copy("minimum", value, &mut out),
            "exclusiveMaximum" if value.is_number() => copy("maximum", value, &mut out),
            "properties" => properties(value, root, depth, budget, &mut out)?,
            "items" => copy("items", &schema(value, root, depth, budget)?, &mut out),
            "anyOf" | "oneOf" => any_of(value, root, depth, budget, &mut out)?,
            name if PLAIN.contains(&name) => copy(name, value, &mut out),
            _ => {}
        }
    }
    required(written, &mut out);
    complete(&mut out);
    Some(Value::Object(out))
}

fn copy(name: &str, value: &Value, out: &mut Map<String, Value>) {
    out.insert(name.to_owned(), value.clone());
}

/// What `allOf` adds up to, shallowly: its members side by side.
fn flattened(written: &Map<String, Value>, root: &Value, depth: usize) -> Map<String, Value> {
    let Some(all) = written.get("allOf").and_then(Value::as_array) else { return written.clone() };
    let mut out = Map::new();
    let rest: Map<String, Value> = written
        .iter()
        .filter(|(name, _)| *name != "allOf")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for part in all.iter().filter_map(Value::as_object).chain([&rest]) {
        let followed = follow(part, root, depth);
        for (name, value) in followed.as_ref().unwrap_or(part) {
            match (out.get_mut(name), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
                (Some(Value::Array(known)), Value::Array(more)) => known.extend(more.iter().cloned()),
                _ => copy(name, value, &mut out),
            }
        }
    }
    out
}

/// One type; `null` beside it makes it nullable, several become alternatives.
fn kinds(value: &Value, out: &mut Map<String, Value>) {
    let all: Vec<&str> = match value {
        Value::String(word) => vec![word],
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if all.contains(&"null") {
        copy("nullable", &json!(true), out);
    }
    let kinds: Vec<&str> = all.into_iter().filter(|word| is_type(word)).collect();
    match kinds.as_slice() {
        [] => {}
        [kind] => copy("type", &json!(kind), out),
        several => {
            let alternatives: Vec<Value> = several
                .iter()
                .map(|kind| {
                    let mut one = Map::new();
                    copy("type", &json!(kind), &mut one);
                    complete(&mut one);
                    Value::Object(one)
                })
                .collect();
            copy("anyOf", &Value::Array(alternatives), out);
        }
    }
}

/// Allowed values: only texts can be listed.
fn words(values: &[Value], out: &mut Map<String, Value>) {
    if values.iter().any(Value::is_null) {
        copy("nullable", &json!(true), out);
    }
    let texts: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    if !texts.is_empty() && texts.iter().all(|value| value.is_string()) {
        copy("type", &json!("string"), out);
        copy("enum", &json!(texts), out);
    }
}

fn properties(
    value: &Value,
    root: &Value,
    depth: usize,
    budget: &mut Budget,
    out: &mut Map<String, Value>,
) -> Option<()> {
    let mut all = Map::new();
    for (name, property) in value.as_object().into_iter().flatten() {
        all.insert(name.clone(), schema(property, root, depth, budget)?);
    }
    out.insert("properties".to_owned(), Value::Object(all));
    Some(())
}

fn any_of(
    value: &Value,
    root: &Value,
    depth: usize,
    budget: &mut Budget,
    out: &mut Map<String, Value>,
) -> Option<()> {
    let is_null = |one: &Value| one.get("type").and_then(Value::as_str) == Some("null");
    let all = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
    if all.iter().any(is_null) {
        copy("nullable", &json!(true), out);
    }
    let rest: Vec<&Value> = all.iter().filter(|one| !is_null(one)).collect();
    if let [only] = rest.as_slice() {
        if let Value::Object(only) = schema(only, root, depth, budget)? {
            for (name, value) in only {
                out.entry(name).or_insert(value);
            }
        }
        return Some(());
    }
    let rewritten =
        rest.into_iter().map(|one| schema(one, root, depth, budget)).collect::<Option<Vec<_>>>()?;
    copy("anyOf", &Value::Array(rewritten), out);
    Some(())
}

/// Only what there is can be required.
fn required(written: &Map<String, Value>, out: &mut Map<String, Value>) {
    let known = |word: &&Value| {
        let name = word.as_str().unwrap_or_default();
        out.get("properties").and_then(|all| all.get(name)).is_some()
    };
    let words: Vec<Value> = written
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(known)
        .cloned()
        .collect();
    if !words.is_empty() {
        out.insert("required".to_owned(), Value::Array(words));
    }
}

/// Fills in what the dialect wants told.
fn complete(out: &mut Map<String, Value>) {
    if !out.contains_key("type") && !out.contains_key("anyOf") {
        let kind = match () {
            () if out.contains_key("properties") => "object",
            () if out.contains_key("items") => "array",
            () => "string",
        };
        copy("type", &json!(kind), out);
    }
    let kind = out.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    if kind == "array" && !out.contains_key("items") {
        copy("items", &json!({"type": "string"}), out);
    }
    if kind == "object" && out.get("properties").and_then(Value::as_object).is_some_and(Map::is_empty) {
        out.shift_remove("properties");
    }
    if kind != "string" && !kind.is_empty() {
        out.shift_remove("enum");
    }
}
