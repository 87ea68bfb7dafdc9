//! Secrets and the references by which a configuration names them: `env:NAME`, `file:PATH`, or, with a warning, a literal.
//!
//! A secret's value never reaches `Debug`, `Display`, a problem, a warning or the effective configuration.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A secret value. Never printed: `Debug` and `Display` show a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Content of a secret file, and whether everyone on the machine may read it.
#[derive(Clone)]
pub struct SecretFile {
    /// The whole file.
    pub text: String,
    /// Its mode lets others read it.
    pub world_readable: bool,
}

/// What the resolution of references needs of the outside world; tests bring their own.
pub struct Outside<'a> {
    /// An environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// A secret file; the error says why it cannot be read.
    pub file: &'a dyn Fn(&Path) -> Result<SecretFile, String>,
}

/// What a reference led to.
pub enum Resolved {
    /// A value, perhaps with a warning about how it is kept.
    Value(Secret, Option<String>),
    /// `env:NAME` and the variable is not set.
    NotSet(String),
}

/// Follows a reference. `Err` says what is wrong with it; neither it nor a warning holds the value.
pub fn resolve(reference: &str, outside: &Outside<'_>) -> Result<Resolved, String> {
    if let Some(name) = reference.strip_prefix("env:") {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(
                "`env:` must be followed by the name of an environment variable, e.g. env:OPENAI_API_KEY"
                    .into(),
            );
        }
        return match (outside.env)(name) {
            None => Ok(Resolved::NotSet(name.to_owned())),
            Some(value) => usable(value.trim(), &format!("environment variable {name}"), None),
        };
    }
    if let Some(path) = reference.strip_prefix("file:") {
        if path.is_empty() {
            return Err("`file:` must be followed by a path, e.g. file:/run/secrets/openai".into());
        }
        let file = (outside.file)(Path::new(path)).map_err(|why| format!("cannot read {path}: {why}"))?;
        let warning =
            file.world_readable.then(|| format!("{path} can be read by everyone; chmod 600 {path}"));
        return usable(file.text.trim_end_matches(['\n', '\r']), path, warning);
    }
    let warning = "holds a secret in plain text; write env:NAME or file:PATH instead".to_owned();
    usable(reference, "the value", Some(warning))
}

fn usable(value: &str, holder: &str, warning: Option<String>) -> Result<Resolved, String> {
    if value.is_empty() {
        return Err(format!("{holder} is empty; give it a value or take the key out"));
    }
    if value.chars().any(|c| !c.is_ascii_graphic() && c != ' ') {
        return Err(format!("{holder} holds characters that cannot travel in an HTTP header"));
    }
    Ok(Resolved::Value(Secret::new(value), warning))
}

/// A reference as it may be shown: names stay, literals are masked.
pub fn shown(reference: &str) -> &str {
    if reference.starts_with("env:") || reference.starts_with("file:") { reference } else { "***" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(reference: &str) -> String {
        let env = |name: &str| match name {
            "SET" => Some("from-env".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let file = |path: &Path| match path.to_str() {
            Some("/ok") => Ok(SecretFile { text: "from-file\n".into(), world_readable: false }),
            Some("/open") => Ok(SecretFile { text: "from-file".into(), world_readable: true }),
            Some("/two") => Ok(SecretFile { text: "a\nb".into(), world_readable: false }),
            _ => Err("no such file".to_owned()),
        };
        match resolve(reference, &Outside { env: &env, file: &file }) {
            Ok(Resolved::Value(secret, warning)) => {
                format!("{} {}", secret.expose(), warning.unwrap_or_default())
            }
            Ok(Resolved::NotSet(name)) => format!("not set {name}"),
            Err(problem) => format!("problem: {problem}"),
        }
    }

    #[test]
    fn references_lead_to_values_warnings_or_problems() {
        for (reference, expected) in [
            ("env:SET", "from-env "),
            ("env:UNSET", "not set UNSET"),
            ("env:EMPTY", "problem: environment variable EMPTY is empty"),
            ("env:", "problem: `env:` must be followed"),
            ("file:/ok", "from-file "),
            ("file:/open", "from-file /open can be read by everyone"),
            ("file:/two", "problem: /two holds characters"),
            ("file:/none", "problem: cannot read /none: no such file"),
            ("sk-1", "sk-1 holds a secret in plain text"),
            ("", "problem: the value is empty"),
        ] {
            assert!(outcome(reference).starts_with(expected), "{reference}: {}", outcome(reference));
        }
        assert!(!format!("{:?} {}", Secret::new("sk-1"), Secret::new("sk-1")).contains("sk-1"));
    }
}
