//! The request log, as the configuration has it: what is kept where no project says, how much, how long, what is masked.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::problem::Problem;
use super::reader::Reader;
use crate::request_log::{Logged, PATTERNS_MAX, Rules};

/// The request log.
#[derive(Clone, Debug)]
pub struct RequestLogSettings {
    /// What is kept of calls whose key has no project.
    pub default: Logged,
    /// Bytes of one body.
    pub max_body: usize,
    /// Bytes of all bodies in the store.
    pub max_bytes: u64,
    /// How long they are kept.
    pub retention: Duration,
    /// What is masked.
    pub rules: Arc<Rules>,
}

/// Reads it; wrong values were reported by the check against the table.
pub fn read(tree: &Value, problems: &mut Vec<Problem>) -> RequestLogSettings {
    let read = Reader::new(tree, "");
    let names = read.names("request_log.redact").unwrap_or_default();
    let patterns = patterns(tree);
    if patterns.len() > PATTERNS_MAX {
        let message = format!("holds more than {PATTERNS_MAX} patterns; join some with `|`");
        problems.push(Problem::new("request_log.patterns", message));
    }
    RequestLogSettings {
        default: read.text("request_log.default").as_deref().and_then(Logged::parse).unwrap_or_default(),
        max_body: read.count("request_log.max_body"),
        max_bytes: read.number("request_log.max_bytes").unwrap_or_default(),
        retention: read.duration("request_log.retention"),
        rules: Arc::new(Rules::new(&names, patterns)),
    }
}

/// Patterns of the operator's own, by name.
fn patterns(tree: &Value) -> Vec<(&str, &str)> {
    let given = tree.get("request_log").and_then(|section| section.get("patterns"));
    let rows = given.and_then(Value::as_object).into_iter().flatten();
    rows.filter_map(|(name, pattern)| Some((name.as_str(), pattern.as_str()?))).collect()
}

/// What is shown beside the keys with fixed names.
pub fn shown(tree: &Value, shown: &mut Map<String, Value>) {
    let given =
        tree.get("request_log").and_then(|section| section.get("patterns")).filter(|given| !given.is_null());
    if let (Some(given), Some(Value::Object(section))) = (given, shown.get_mut("request_log")) {
        section.insert("patterns".to_owned(), given.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outside, assemble};
    use super::*;

    fn outcome(text: &str) -> Result<RequestLogSettings, Vec<String>> {
        let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
        let loaded = assemble(Some(("f", text)), [], &outside);
        loaded
            .map(|loaded| loaded.settings.request_log)
            .map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn nothing_is_kept_unless_somebody_says_so() {
        let settings = outcome("{}").unwrap();
        assert_eq!((settings.default, settings.max_body), (Logged::Off, 64 << 10));
        assert_eq!(settings.retention, Duration::from_secs(7 * 24 * 60 * 60));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        for (text, path) in [
            ("{request_log: {default: all}}", "request_log.default"),
            ("{request_log: {redact: [email, phone]}}", "request_log.redact"),
            ("{request_log: {patterns: {staff: '('}}}", "request_log.patterns.staff"),
            ("{request_log: {patterns: {'a b': x}}}", "request_log.patterns.a b"),
            ("{request_log: {retention: 500ms}}", "request_log.retention"),
            ("{request_log: {max_body: 1GiB}}", "request_log.max_body"),
            ("{projects: {p: {request_log: some}}}", "projects.p.request_log"),
            ("{tag_sets: [{tags: {a: b}, request_log: full}]}", "tag_sets[0].request_log"),
        ] {
            let problems = outcome(text).unwrap_err();
            assert!(
                problems.iter().any(|problem| problem.starts_with(&format!("{path}:"))),
                "{text}: {problems:?}"
            );
        }
    }
}
