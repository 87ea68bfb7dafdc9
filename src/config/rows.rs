//! The shipped provider rows, and how a provider of the operator's file inherits one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::layers;
use super::problem::Problem;

const SHIPPED: &str = include_str!("../../config/providers.yaml");

/// What `config/providers.yaml` holds.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Rows by provider id, in the shape of `providers.<id>`.
    pub providers: BTreeMap<String, Value>,
    /// Variables to name for providers of the catalogue that have no row.
    pub credential_hints: BTreeMap<String, Vec<String>>,
}

impl Rows {
    /// The rows that this build ships. A problem here is a defect of the build; a test keeps it from being one.
    pub fn shipped() -> Result<Self, Problem> {
        const NAME: &str = "config/providers.yaml";
        let tree = layers::parse_yaml(NAME, SHIPPED)?;
        let read = |key: &str| tree.get(key).cloned().unwrap_or_default();
        let wrong = |error: serde_json::Error| Problem::new(NAME, error.to_string());
        Ok(Self {
            providers: serde_json::from_value(read("providers")).map_err(wrong)?,
            credential_hints: serde_json::from_value(read("credential_hints")).map_err(wrong)?,
        })
    }

    /// The row of `id` with the keys of `given` in place of its own; just `given` when there is no such row.
    pub fn inherit(&self, id: &str, given: &Value) -> Value {
        match self.providers.get(id) {
            Some(row) => overlaid(row, given),
            None => given.clone(),
        }
    }
}

/// Tables are merged key by key, everything else is replaced; nothing given leaves what was there.
fn overlaid(lower: &Value, upper: &Value) -> Value {
    match (lower, upper) {
        (lower, Value::Null) => lower.clone(),
        (Value::Object(lower), Value::Object(upper)) => {
            let mut table = lower.clone();
            for (name, value) in upper {
                let below = table.get(name).unwrap_or(&Value::Null);
                table.insert(name.clone(), overlaid(below, value));
            }
            Value::Object(table)
        }
        (_, upper) => upper.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::validate;

    #[test]
    fn every_shipped_row_is_valid_and_complete() {
        let rows = Rows::shipped().unwrap();
        let tree = json!({ "providers": rows.providers });
        assert_eq!(validate::check(&tree), []);
        for (id, row) in &rows.providers {
            assert!(row.get("base_url").is_some(), "{id} has no base_url");
            assert!(row.get("api_key").is_none(), "{id}: a row names variables, it holds no key");
            let base = row.get("base_url").and_then(Value::as_str).unwrap();
            let local = base.starts_with("http://");
            assert_eq!(
                local,
                base.contains("127.0.0.1") || id == "gpustack",
                "{id}: plain http is for local servers"
            );
        }
        for id in ["openai", "azure", "mistral", "groq", "deepseek", "xai", "openrouter", "ollama", "vllm"] {
            assert!(rows.providers.contains_key(id), "{id}");
        }
        assert!(rows.providers.keys().all(|id| !rows.credential_hints.contains_key(id)));
    }

    #[test]
    fn bedrocks_row_knows_its_families_by_name_and_by_inference_profile() {
        use crate::wire::quirks::{Quirks, ThinkingStyle, any_glob};
        let rows = Rows::shipped().unwrap();
        let quirks: Quirks = serde_json::from_value(rows.providers["bedrock"]["quirks"].clone()).unwrap();
        for (model, style, marks, one_of_both) in [
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Some(ThinkingStyle::Budget), true, false),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", Some(ThinkingStyle::Budget), true, true),
            ("anthropic.claude-opus-4-1-20250805-v1:0", Some(ThinkingStyle::Budget), true, true),
            ("global.anthropic.claude-opus-4-6-v1", Some(ThinkingStyle::Adaptive), true, true),
            ("us.anthropic.claude-sonnet-5", Some(ThinkingStyle::Adaptive), true, false),
            ("anthropic.claude-3-sonnet-20240229-v1:0", None, true, false),
            ("us.amazon.nova-2-lite-v1:0", Some(ThinkingStyle::MaxEffort), true, false),
            ("us.amazon.nova-pro-v1:0", None, true, false),
            ("openai.gpt-oss-120b-1:0", Some(ThinkingStyle::Effort), false, false),
            ("qwen.qwen3-32b-v1:0", Some(ThinkingStyle::Config), false, false),
            ("us.meta.llama4-maverick-17b-instruct-v1:0", None, false, false),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", None, true, false),
        ] {
            assert_eq!(quirks.thinking_style(model), style, "{model}");
            assert_eq!(!any_glob(&quirks.uncached_models, model), marks, "{model}");
            assert_eq!(any_glob(&quirks.exclusive_sampling_models, model), one_of_both, "{model}");
        }
    }

    #[test]
    fn given_keys_replace_the_rows_and_leave_the_others() {
        let rows = Rows {
            providers: [("x".to_owned(), json!({"a": 1, "q": {"b": [1], "c": 2}}))].into(),
            ..Rows::default()
        };
        assert_eq!(
            rows.inherit("x", &json!({"q": {"b": [2, 3]}})),
            json!({"a": 1, "q": {"b": [2, 3], "c": 2}})
        );
        assert_eq!(rows.inherit("x", &Value::Null), rows.providers["x"]);
        assert_eq!(rows.inherit("y", &json!({"a": 2})), json!({"a": 2}));
    }
}
