//! `llm-gateway check`: what is wrong with a configuration, or what it amounts to. Pure rendering.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::{Loaded, Problem};

/// Exit code when there are problems.
pub const EXIT_PROBLEMS: u8 = 2;

/// The text for the terminal and the exit code: 0, or [`EXIT_PROBLEMS`].
pub fn render(outcome: &Result<Loaded, Vec<Problem>>) -> (String, u8) {
    match outcome {
        Ok(loaded) => (effective(loaded), 0),
        Err(problems) => (self::problems(problems), EXIT_PROBLEMS),
    }
}

/// One line per problem, and how many there are.
pub fn problems(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "error: {problem}");
    }
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    let _ = writeln!(text, "{} {noun}; nothing was started", problems.len());
    text
}

/// Warnings, then every value as `path = value`, with its origin where it is not the built-in one.
fn effective(loaded: &Loaded) -> String {
    let mut text = String::new();
    for warning in &loaded.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "configuration is valid; it amounts to (secrets masked):");
    lines(&mut text, "", &loaded.settings.effective, loaded);
    text
}

fn lines(text: &mut String, path: &str, value: &Value, loaded: &Loaded) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (name, below) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                lines(text, &path, below, loaded);
            }
        }
        Value::Object(_) => {}
        _ => {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let origin = loaded.origins.get(path).map(|origin| format!("  ({origin})")).unwrap_or_default();
            let _ = writeln!(text, "  {path} = {shown}{origin}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Outside, SecretFile, assemble};

    fn checked(file: &str) -> (String, u8) {
        let outside = Outside { env: &|_| None, file: &|_| Err::<SecretFile, _>("not there".to_owned()) };
        render(&assemble(Some(("gateway.yaml", file)), [], &outside))
    }

    #[test]
    fn problems_are_listed_with_their_paths_and_exit_with_2() {
        let (text, code) = checked("servr: {}\nserver: { body_limit: 12 }\n");
        assert_eq!(code, 2);
        assert!(text.contains("error: servr: unknown key `servr`; did you mean `server`?"), "{text}");
        assert!(text.contains("error: server.body_limit: `12` is not a size"), "{text}");
        assert!(text.ends_with("2 problems; nothing was started\n"), "{text}");
    }

    #[test]
    fn a_valid_configuration_is_shown_with_origins_and_without_secrets() {
        let (text, code) =
            checked("server: { listen: '0.0.0.0:80' }\nproviders: { openai: { api_key: sk-hidden } }\n");
        assert_eq!(code, 0);
        assert!(text.contains("server.listen = 0.0.0.0:80  (file)"), "{text}");
        assert!(text.contains("ops.listen = 127.0.0.1:9090\n"), "{text}");
        assert!(text.contains("providers.openai.api_key = ***"), "{text}");
        assert!(text.contains("warning: providers.openai: api_key: holds a secret in plain text"), "{text}");
        assert!(!text.contains("sk-hidden"), "{text}");
    }
}
