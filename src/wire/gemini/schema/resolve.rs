//! References within a schema.

use serde_json::{Map, Value};

/// References followed within one another at most; beyond, anything is allowed.
const REFERENCES_MAX: usize = 8;
/// Values of a rewritten schema at most.
const VALUES_MAX: usize = 20_000;
/// Values within one another at most: what a JSON parser takes, unfolded or not.
const NESTING_MAX: usize = 128;

/// What following references may still cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    values: usize,
    nesting: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { values: VALUES_MAX, nesting: NESTING_MAX }
    }
}

impl Budget {
    /// Into one more value; `None` when there were too many, or too many within one another.
    pub fn enter(&mut self) -> Option<()> {
        self.values = self.values.checked_sub(1)?;
        self.nesting = self.nesting.checked_sub(1)?;
        Some(())
    }

    /// Out of it again.
    pub fn leave(&mut self) {
        self.nesting += 1;
    }
}

/// The members of a schema with its reference, if it has one, followed: what stands beside it wins. `None`: it leads
/// nowhere, or was followed deeply enough.
pub fn follow<'a>(
    schema: &'a Map<String, Value>,
    root: &'a Value,
    depth: usize,
) -> Option<Map<String, Value>> {
    let reference = schema.get("$ref")?.as_str()?;
    let target = root.pointer(reference.strip_prefix('#')?)?.as_object()?;
    if depth >= REFERENCES_MAX {
        return None;
    }
    let mut merged = target.clone();
    for (name, value) in schema.iter().filter(|(name, _)| *name != "$ref") {
        merged.insert(name.clone(), value.clone());
    }
    Some(merged)
}

fn is_accompanied(schema: &Map<String, Value>) -> bool {
    schema.get("$ref").is_some_and(Value::is_string) && schema.keys().any(|name| !name.starts_with('$'))
}

/// True when a reference has other words beside it: Google refuses that.
pub fn has_accompanied_reference(value: &Value) -> bool {
    match value {
        Value::Object(schema) => is_accompanied(schema) || schema.values().any(has_accompanied_reference),
        Value::Array(items) => items.iter().any(has_accompanied_reference),
        _ => false,
    }
}

/// The schema with such references followed and all others as they are.
pub fn accompanied(root: &Value) -> Option<Value> {
    merged(root, root, 0, &mut Budget::default())
}

fn merged(value: &Value, root: &Value, depth: usize, budget: &mut Budget) -> Option<Value> {
    budget.enter()?;
    let made = match value {
        Value::Object(schema) if is_accompanied(schema) => match follow(schema, root, depth) {
            Some(followed) => merged(&Value::Object(followed), root, depth + 1, budget)?,
            None => {
                Value::Object(schema.iter().filter(|(name, _)| name.starts_with('$')).map(owned).collect())
            }
        },
        Value::Object(schema) => {
            let members =
                schema.iter().map(|(name, value)| Some((name.clone(), merged(value, root, depth, budget)?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| merged(item, root, depth, budget)).collect::<Option<_>>()?)
        }
        other => other.clone(),
    };
    budget.leave();
    Some(made)
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}
