//! Checks a whole configuration tree against the table of keys: unknown keys with the near miss, wrong values with
//! what to write. Every problem is found in one go.

use serde_json::Value;

use super::problem::{Problem, near_miss};
use super::schema::{self, Node};
use super::value;

/// Longest name of a provider or alias, characters.
const NAME_MAX: usize = 64;

/// Every problem of `tree` that the table can tell.
pub fn check(tree: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(&mut Vec::new(), "", tree, &mut problems);
    problems
}

fn walk(path: &mut Vec<String>, shown: &str, tree: &Value, problems: &mut Vec<Problem>) {
    match (schema::node(path), tree) {
        (_, Value::Null) => {}
        (Node::Leaf(key), given) => {
            if let Err(message) = value::read(key.kind, given) {
                problems.push(Problem::new(shown, message));
            }
        }
        (Node::Section, Value::Object(table)) => {
            for (name, below) in table {
                let shown = if shown.is_empty() { name.clone() } else { format!("{shown}.{name}") };
                if let Some(message) = name_problem(path, name) {
                    problems.push(Problem::new(&shown, message));
                }
                path.push(name.clone());
                walk(path, &shown, below, problems);
                path.pop();
            }
        }
        (Node::List, Value::Array(items)) => {
            for (at, below) in items.iter().enumerate() {
                path.push(at.to_string());
                walk(path, &format!("{shown}[{at}]"), below, problems);
                path.pop();
            }
        }
        (Node::Section, _) => {
            let names = schema::names_below(path).join(", ");
            let message = match names.as_str() {
                "" => "must be a table of names and values".to_owned(),
                names => format!("must be a table; its keys are {names}"),
            };
            problems.push(Problem::new(shown, message));
        }
        (Node::List, _) => problems.push(Problem::new(shown, "must be a list")),
        (Node::Unknown, _) => problems.push(Problem::new(shown, unknown(path))),
    }
}

/// What to say of a key that the table does not know.
fn unknown(path: &[String]) -> String {
    let Some((name, parent)) = path.split_last() else { return "must be a table".to_owned() };
    let siblings = schema::names_below(parent);
    let elsewhere = || {
        schema::keys()
            .map(|key| key.path)
            .find(|path| !path.contains(['*', '#']) && path.rsplit('.').next() == Some(name.as_str()))
    };
    match near_miss(name, siblings.iter().copied()).or_else(elsewhere) {
        Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
        None => format!("unknown key `{name}`; known here: {}", siblings.join(", ")),
    }
}

/// What is wrong with a name of the operator's own choice, by where it stands.
fn name_problem(parent: &[String], name: &str) -> Option<String> {
    let parent: Vec<&str> = parent.iter().map(String::as_str).collect();
    match parent.as_slice() {
        ["providers"] | ["models"] | ["request_log", "patterns"] => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(allowed) {
                return Some(format!("a name has 1 to {NAME_MAX} letters, digits, `-`, `_` or `.`"));
            }
            (parent == ["models"] && name == "auto")
                .then(|| "`auto` is the router's own; choose another name".to_owned())
        }
        ["keys"] => {
            let allowed =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
            let sane = !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(allowed);
            (!sane).then(|| {
                format!("a name has 1 to {NAME_MAX} lower-case letters, digits, `-`, `_` or `.`: the key's id is made of it")
            })
        }
        ["providers", _, "headers"] if name.eq_ignore_ascii_case("authorization") => {
            Some("give the credential as `api_key` and the way it travels as `auth`".to_owned())
        }
        ["providers", _, "headers"] => value::header_name(name).err(),
        _ => None,
    }
}
