//! The edge of configuration: finds the file, reads the process environment and secret files, and hands them on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::layers;
use super::problem::Problem;
use super::resolve::{Loaded, resolve};
use super::rows::Rows;
use super::secret::{Outside, SecretFile};

/// Taken when no file is named and it is there.
pub const DEFAULT_FILE: &str = "config/gateway.yaml";

/// Largest configuration or secret file that is read, bytes.
const FILE_MAX: u64 = 4 << 20;

/// Loads the configuration: built-in defaults, then `file` (or [`DEFAULT_FILE`] if it is there), then the environment.
/// Adds to `files` what was read for it, or would have been, also where it fails.
///
/// Errors: every problem at once, each with its path.
pub fn load(file: Option<&Path>, files: &mut Vec<PathBuf>) -> Result<Loaded, Vec<Problem>> {
    let default = Path::new(DEFAULT_FILE);
    let file = file.or_else(|| default.exists().then_some(default));
    files.extend(file.map(Path::to_owned));
    let text = match file {
        Some(path) => {
            let why = |why| vec![Problem::new(path.display().to_string(), format!("cannot be read: {why}"))];
            Some((path.display().to_string(), bounded_read(path).map_err(why)?))
        }
        None => None,
    };
    let env = |name: &str| std::env::var(name).ok();
    let noting = RefCell::new(files);
    let noted = |path: &Path| {
        noting.borrow_mut().push(path.to_owned());
        secret_file(path)
    };
    let outside = Outside { env: &env, file: &noted };
    // A value that is not UTF-8 cannot be meant for us, except under our own prefix, where it is a wrong value.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    assemble(file, variables, &outside)
}

/// Layers and resolves: `file` is its name and text. Without I/O of its own, for tests and for reloading.
pub fn assemble(
    file: Option<(&str, &str)>,
    variables: impl IntoIterator<Item = (String, String)>,
    outside: &Outside<'_>,
) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let lower = match file.map(|(name, text)| layers::parse_yaml(name, text)) {
        None => Value::Object(serde_json::Map::new()),
        Some(Ok(tree)) => tree,
        // Without the file nothing that follows would mean anything.
        Some(Err(problem)) => return Err(vec![problem]),
    };
    let environment = layers::environment(variables, &known_ids(&lower));
    problems.extend(environment.problems);
    let tree = layers::merge(&lower, &environment.tree).map_err(|problem| vec![problem])?;
    let exact_providers = lower.get("providers").is_some_and(|providers| !providers.is_null());
    match resolve(&tree, exact_providers, outside) {
        Ok(mut loaded) if problems.is_empty() => {
            leaves("", &lower, &mut loaded.origins);
            loaded.origins.extend(environment.variables);
            Ok(loaded)
        }
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more.into_iter().map(|problem| with_variable(problem, &environment.variables)));
            Err(problems)
        }
    }
}

/// Provider ids that a variable may mean: those of the file first, then the shipped ones.
fn known_ids(file: &Value) -> Vec<String> {
    let given = file.get("providers").and_then(Value::as_object);
    let shipped = Rows::shipped().unwrap_or_default().providers;
    given.into_iter().flatten().map(|(id, _)| id.clone()).chain(shipped.into_keys()).collect()
}

/// Says which variable gave a value that is wrong.
fn with_variable(mut problem: Problem, variables: &BTreeMap<String, String>) -> Problem {
    if let Some(variable) = variables.get(&problem.path) {
        problem.message.push_str(&format!(" (set by {variable})"));
    }
    problem
}

fn leaves(path: &str, tree: &Value, origins: &mut BTreeMap<String, String>) {
    match tree {
        Value::Object(table) => {
            for (name, below) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, below, origins);
            }
        }
        Value::Null => {}
        _ => {
            origins.insert(path.to_owned(), "file".to_owned());
        }
    }
}

fn bounded_read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {}", super::units::size_text(FILE_MAX)));
    }
    Ok(text)
}

fn secret_file(path: &Path) -> Result<SecretFile, String> {
    let path = PathBuf::from(path);
    let text = bounded_read(&path)?;
    let world_readable = match std::fs::metadata(&path) {
        Ok(metadata) => {
            use std::os::unix::fs::PermissionsExt;
            metadata.permissions().mode() & 0o004 != 0
        }
        Err(error) => return Err(error.to_string()),
    };
    Ok(SecretFile { text, world_readable })
}
