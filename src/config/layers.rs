//! The layers of a configuration: a file, and over it the environment as `LLM_GATEWAY__SECTION__KEY`.
//!
//! Pure: text and variables in, one tree out. Environment names are upper case and have no dashes, so the part that
//! names a provider is matched with the ids that are known: `MY_VLLM` is `my-vllm`.

use std::collections::BTreeMap;

use config::{Config, ConfigError, FileFormat, Format, Map, Source};
use serde_json::Value;

use super::problem::{Problem, near_miss};
use super::schema::{self, Node};

/// What every variable of this program starts with.
pub const PREFIX: &str = "LLM_GATEWAY__";

/// One layer in the shape that the `config` crate merges.
#[derive(Clone, Debug)]
struct Layer(Map<String, config::Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// What the environment sets.
#[derive(Debug, Default)]
pub struct Environment {
    /// The values, as a tree of texts.
    pub tree: Value,
    /// Which variable set which path.
    pub variables: BTreeMap<String, String>,
    /// Variables with our prefix that name nothing.
    pub problems: Vec<Problem>,
}

/// Reads a YAML file; an empty one is an empty table.
pub fn parse_yaml(name: &str, text: &str) -> Result<Value, Problem> {
    let whole_file = |message: String| Problem::new(name, message);
    // `config` takes a file without content for one without a table.
    if text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#'))) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let table = FileFormat::Yaml
        .parse(None, text)
        .map_err(|error| whole_file(format!("is not valid YAML: {error}")))?;
    // The merge reads a top-level name as a path: one that is more than a name is not handed to it.
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match table.keys().find(|key| !plain(key)) {
        Some(odd) => Err(whole_file(format!(
            "holds the unknown key `{}`; write sections as nested tables",
            super::units::brief(odd)
        ))),
        None => merged([table]).map_err(|error| whole_file(error.to_string())),
    }
}

/// Lays `upper` over `lower`: tables are merged, everything else is replaced.
pub fn merge(lower: &Value, upper: &Value) -> Result<Value, Problem> {
    let layers =
        [lower, upper].map(|tree| serde_json::from_value::<Map<String, config::Value>>(tree.clone()));
    let [Ok(lower), Ok(upper)] = layers else {
        return Err(Problem::new("configuration", "must be a table"));
    };
    merged([lower, upper]).map_err(|error| Problem::new("configuration", error.to_string()))
}

fn merged<const N: usize>(layers: [Map<String, config::Value>; N]) -> Result<Value, ConfigError> {
    let builder =
        layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(Layer(layer)));
    builder.build()?.try_deserialize()
}

/// Reads the variables with our prefix; `known` are the provider ids that a variable may mean.
pub fn environment(variables: impl IntoIterator<Item = (String, String)>, known: &[String]) -> Environment {
    let mut found = Environment { tree: Value::Object(serde_json::Map::new()), ..Environment::default() };
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let path = path_of(rest, known);
        match schema::node(&path) {
            Node::Leaf(_) => {
                found.variables.insert(path.join("."), variable);
                insert(&mut found.tree, &path, value);
            }
            Node::List => {
                found.problems.push(Problem::new(variable, "a list of tables can only be given in the file"))
            }
            Node::Section => {
                let names = schema::names_below(&path).join(", ").to_uppercase();
                let message = format!("names a section; add `__` and one of its keys: {names}");
                found.problems.push(Problem::new(variable, message));
            }
            Node::Unknown => found.problems.push(Problem::new(variable, unknown(&path))),
        }
    }
    found
}

fn path_of(rest: &str, known: &[String]) -> Vec<String> {
    let mut path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
    if let [section, name, ..] = path.as_mut_slice()
        && section == "providers"
    {
        let folded = |id: &str| id.to_lowercase().replace(['-', '.'], "_");
        *name =
            known.iter().find(|id| folded(id) == *name).cloned().unwrap_or_else(|| name.replace('_', "-"));
    }
    path
}

fn unknown(path: &[String]) -> String {
    let name = path.join("__").to_uppercase();
    let candidates: Vec<String> = schema::keys()
        .filter(|key| !key.path.contains(['*', '#']))
        .map(|key| key.path.replace('.', "__").to_uppercase())
        .collect();
    match near_miss(&name, candidates.iter().map(String::as_str)) {
        Some(near) => format!("sets no known key; did you mean `{PREFIX}{near}`?"),
        None => "sets no known key; docs/configuration.md lists them all".to_owned(),
    }
}

fn insert(tree: &mut Value, path: &[String], value: String) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = tree;
    for name in parents {
        let Value::Object(table) = at else { return };
        at = table.entry(name.clone()).or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    if let Value::Object(table) = at {
        table.insert(last.clone(), Value::String(value));
    }
}
