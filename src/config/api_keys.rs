//! Several keys of one provider: from the list in its row to credentials with weights and limits.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::Value;

use super::problem::Problem;
use super::reader::Reader;
use super::secret::{self, Outside, Resolved, Secret};

/// Keys of one provider at most.
const KEYS_MAX: usize = 64;

/// One key of several, and how much of the work is its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What it is called in logs and views.
    pub name: Arc<str>,
    /// The key.
    pub secret: Secret,
    /// Share of the attempts relative to the others; 0: only when no other can be had.
    pub weight: u32,
    /// Requests per minute that it allows.
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute, prompt and completion.
    pub tpm: Option<NonZeroU32>,
    /// Attempts at a time.
    pub concurrency: Option<NonZeroU32>,
}

/// Reads the keys of provider `id`. A key whose variable is not set is left out, with a warning.
pub fn read(
    id: &str,
    row: &Value,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<ApiKey> {
    let listed = row.get("api_keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut problem = |at: String, message: String| {
        problems.push(Problem::new(format!("providers.{id}.api_keys{at}"), message));
    };
    if !listed.is_empty() && row.get("api_key").is_some_and(|key| !key.is_null()) {
        problem(String::new(), "stands beside `api_key`; put that key into the list".to_owned());
    }
    if listed.len() > KEYS_MAX {
        problem(String::new(), format!("has {} keys; at most {KEYS_MAX} are possible", listed.len()));
        return Vec::new();
    }
    let mut keys: Vec<ApiKey> = Vec::new();
    for (at, item) in listed.iter().enumerate() {
        let read = Reader::new(item, "providers.*.api_keys.#.");
        let limit = |key: &str| {
            read.number(key).and_then(|number| u32::try_from(number).ok()).and_then(NonZeroU32::new)
        };
        let name = read.text("name").unwrap_or_else(|| format!("key{}", at + 1));
        let Some(reference) = read.text("key") else {
            if read.given("key").is_none() && (item.is_object() || item.is_null()) {
                problem(format!("[{at}].key"), "is needed: a reference, e.g. env:OPENAI_KEY_2".to_owned());
            }
            continue;
        };
        if keys.iter().any(|known| *known.name == *name) {
            problem(format!("[{at}].name"), format!("`{name}` is another key's name already"));
            continue;
        }
        let filled = |name: &str| (outside.env)(name).filter(|value| !value.trim().is_empty());
        match secret::resolve(&reference, &Outside { env: &filled, file: outside.file }) {
            Ok(Resolved::Value(secret, warning)) => {
                let told = warning.map(|warning| format!("providers.{id}: api_keys[{at}]: {warning}"));
                warnings.extend(told);
                let weight = read.number("weight").and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1);
                let (rpm, tpm, concurrency) = (limit("rpm"), limit("tpm"), limit("concurrency"));
                keys.push(ApiKey { name: Arc::from(name), secret, weight, rpm, tpm, concurrency });
            }
            Ok(Resolved::NotSet(variable)) => {
                warnings.push(format!("providers.{id}: api_keys[{at}] is left out until {variable} is set"));
            }
            Err(message) => problem(format!("[{at}].key"), message),
        }
    }
    keys
}
