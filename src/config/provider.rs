//! One provider: from its row, inheritance done, to the typed settings. Pure but for the references it follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::api_keys::{self, ApiKey};
use super::identity::{self, Asked, Found, Identity};
use super::problem::Problem;
use super::provider_keys::PROVIDER_KEYS;
use super::reader::Reader;
use super::route;
use super::schema::Kind;
use super::secret::{self, Outside, Resolved, Secret};
use super::settings::{AdmissionRule, AuthStyle, BreakerRule, OnCancel, ProbeRule, Provider, Tending};
use super::timeouts;
use super::value::{self, Typed};
use crate::wire::Quirks;

/// A provider, or all that keeps it from being one; and what to say either way.
pub struct Built {
    /// `Err` holds at least one problem.
    pub provider: Result<Provider, Vec<Problem>>,
    /// Things that work but should be known.
    pub warnings: Vec<String>,
}

struct Draft<'a> {
    id: &'a str,
    row: &'a Value,
    outside: &'a Outside<'a>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

/// Builds provider `id` from its row.
pub fn build(id: &str, row: &Value, outside: &Outside<'_>) -> Built {
    let mut draft = Draft { id, row, outside, problems: Vec::new(), warnings: Vec::new() };
    let provider = draft.provider();
    // A placeholder that stands in an address twice is missing once.
    let mut told: Vec<Problem> = Vec::new();
    draft.problems.retain(|problem| {
        let new = !told.contains(problem);
        told.push(problem.clone());
        new
    });
    let provider = if draft.problems.is_empty() { Ok(provider) } else { Err(draft.problems) };
    Built { provider, warnings: draft.warnings }
}

/// The variables of a row that are set to something, in its order.
pub fn set_variables(row: &Value, outside: &Outside<'_>) -> Vec<String> {
    let names = Reader::new(row, "providers.*.").names("env").unwrap_or_default();
    names
        .into_iter()
        .filter(|name| (outside.env)(name).is_some_and(|value| !value.trim().is_empty()))
        .collect()
}

/// When the provider is not asked for a while.
fn breaker(read: &Reader<'_>) -> BreakerRule {
    let number = |key: &str| read.number(key).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    BreakerRule {
        consecutive_failures: number("breaker.consecutive_failures"),
        failure_rate: number("breaker.failure_rate"),
        slow_call: read.duration("breaker.slow_call"),
        slow_rate: number("breaker.slow_rate"),
        minimum_calls: number("breaker.minimum_calls"),
        cool_down: read.duration("breaker.cool_down"),
        cool_down_max: read.duration("breaker.cool_down_max"),
    }
}

impl Draft<'_> {
    fn provider(&mut self) -> Provider {
        let read = Reader::new(self.row, "providers.*.");
        let auth = self.auth(&read);
        let vars = self.vars();
        let base_url = self.base_url(&read, &vars);
        let (api_key, identity, env) = match &auth {
            AuthStyle::None => (None, None, Vec::new()),
            AuthStyle::Bearer | AuthStyle::Header(_) if self.has_keys() => (None, None, Vec::new()),
            AuthStyle::Bearer | AuthStyle::Header(_) => {
                let (api_key, env) = self.credential(&read);
                (api_key, None, env)
            }
            AuthStyle::Aws | AuthStyle::Google | AuthStyle::Entra => self.identity(&read, &auth, &vars),
        };
        let api_keys = self.api_keys(&auth);
        let (timeouts, model_timeouts) = timeouts::read(self.row);
        self.check_bounds(&read);
        Provider {
            id: Arc::from(self.id),
            routes: route::read(self.id, self.row, &mut self.problems),
            responses: read.flag("responses"),
            vars,
            base_url,
            auth,
            api_key,
            api_keys,
            identity,
            env,
            catalog: Arc::from(read.text("catalog").unwrap_or_else(|| self.id.to_owned())),
            headers: self.headers(),
            quirks: self.quirks(&read),
            timeouts,
            model_timeouts,
            admission: AdmissionRule {
                ceiling: read.count("max_in_flight"),
                adaptive: read.flag("adaptive_limit"),
                floor: read.count("min_in_flight"),
                queue: read.count("queue.length"),
                queue_timeout: read.duration("queue.timeout"),
            },
            breaker: breaker(&read),
            tending: self.tending(&read),
            on_cancel: Self::on_cancel(&read),
        }
    }

    /// What an attempt costs whose client leaves.
    fn on_cancel(read: &Reader<'_>) -> OnCancel {
        match read.text("on_cancel").as_deref() {
            Some("drain") => OnCancel::Drain(read.duration("cancel_drain")),
            Some("free") => OnCancel::Free,
            _ => OnCancel::Estimate,
        }
    }

    /// What is done for it between calls.
    fn tending(&mut self, read: &Reader<'_>) -> Tending {
        let path = read.text("probe.path");
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            self.problem("probe.path", "starts with `/`, e.g. /models");
        }
        let signs = matches!(read.text("auth").as_deref(), Some("aws" | "google" | "entra"));
        if path.is_some() && signs {
            self.problem(
                "probe.path",
                "is not possible with this `auth`: only a key can be sent with a probe",
            );
        }
        let probe = path.map(|path| ProbeRule {
            path,
            interval: read.duration("probe.interval"),
            timeout: read.duration("probe.timeout"),
        });
        Tending { warm_connections: read.count("warm_connections"), probe }
    }

    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(format!("providers.{}.{key}", self.id), message));
    }

    fn warn(&mut self, message: impl AsRef<str>) {
        self.warnings.push(format!("providers.{}: {}", self.id, message.as_ref()));
    }

    fn auth(&mut self, read: &Reader<'_>) -> AuthStyle {
        match read.text("auth").as_deref() {
            Some("none") => {
                if read.given("api_key").is_some() || self.has_keys() {
                    self.warn("`auth: none`, so its `api_key` is not sent; take one of the two out");
                }
                AuthStyle::None
            }
            Some("bearer") => AuthStyle::Bearer,
            Some("aws") => AuthStyle::Aws,
            Some("google") => AuthStyle::Google,
            Some("entra") => AuthStyle::Entra,
            Some(header) => AuthStyle::Header(header.trim_start_matches("header:").to_owned()),
            None if read.given("api_key").is_none()
                && !self.has_keys()
                && read.names("env").is_none_or(|names| names.is_empty()) =>
            {
                AuthStyle::None
            }
            None => match route::format(read.text("wire")).key_header() {
                Some(header) => AuthStyle::Header(header.to_owned()),
                None => AuthStyle::Bearer,
            },
        }
    }

    /// Bounds that contradict each other. A default gives way to what is given.
    fn check_bounds(&mut self, read: &Reader<'_>) {
        let given = |low: &str, high: &str| read.given(low).is_some() && read.given(high).is_some();
        let (few, many) = ("min_in_flight", "max_in_flight");
        if given(few, many) && read.count(few) > read.count(many) {
            self.problem(few, "is above `max_in_flight`");
        }
        let (short, long) = ("breaker.cool_down", "breaker.cool_down_max");
        if given(short, long) && read.duration(short) > read.duration(long) {
            self.problem(short, "is above `breaker.cool_down_max`");
        }
    }

    /// Several keys are given.
    fn has_keys(&self) -> bool {
        self.row.get("api_keys").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty())
    }

    /// Several keys in place of one.
    fn api_keys(&mut self, auth: &AuthStyle) -> Vec<ApiKey> {
        match auth {
            AuthStyle::None => return Vec::new(),
            AuthStyle::Aws | AuthStyle::Google | AuthStyle::Entra if self.has_keys() => {
                self.problem("api_keys", "goes with `auth: bearer` or a header; an identity is one only");
                return Vec::new();
            }
            _ => {}
        }
        let keys = api_keys::read(self.id, self.row, self.outside, &mut self.problems, &mut self.warnings);
        if keys.is_empty() && self.has_keys() && self.problems.is_empty() {
            self.warn("has no credential and is not called until one of its `api_keys` is set");
        }
        keys
    }

    /// The credential, and the variables that would give one. A variable that is set to nothing counts as not set.
    fn credential(&mut self, read: &Reader<'_>) -> (Option<Secret>, Vec<String>) {
        let usual = read.names("env").unwrap_or_default();
        let (reference, env) = match read.text("api_key") {
            Some(reference) => {
                let named = reference.strip_prefix("env:").map(|name| vec![name.to_owned()]);
                (reference, named.unwrap_or_default())
            }
            None if read.given("api_key").is_some() => return (None, usual),
            None => match set_variables(self.row, self.outside).first() {
                Some(name) => (format!("env:{name}"), usual),
                None => {
                    self.without_credential(&usual);
                    return (None, usual);
                }
            },
        };
        let env_or_blank = |name: &str| (self.outside.env)(name).filter(|value| !value.trim().is_empty());
        let followed = secret::resolve(&reference, &Outside { env: &env_or_blank, file: self.outside.file });
        match followed {
            Ok(Resolved::Value(secret, warning)) => {
                if let Some(warning) = warning {
                    self.warn(format!("api_key: {warning}"));
                }
                (Some(secret), env)
            }
            Ok(Resolved::NotSet(_)) => {
                self.without_credential(&env);
                (None, env)
            }
            Err(message) => {
                self.problem("api_key", message);
                (None, env)
            }
        }
    }

    /// The identity of a cloud, or the token that stands in for it, and the variables that would give one.
    fn identity(
        &mut self,
        read: &Reader<'_>,
        auth: &AuthStyle,
        vars: &BTreeMap<String, String>,
    ) -> (Option<Secret>, Option<Identity>, Vec<String>) {
        let credentials = read.text("credentials");
        let unreadable = |key: &str| read.given(key).is_some() && read.text(key).is_none();
        if unreadable("api_key") || unreadable("credentials") {
            return (None, None, Vec::new());
        }
        let asked = Asked { credentials, api_key: read.text("api_key"), vars, outside: self.outside };
        match identity::read(auth, &asked) {
            Found::Token(secret, warning) => {
                warning.into_iter().for_each(|warning| self.warn(warning));
                (Some(secret), None, Vec::new())
            }
            Found::Identity(identity, warning) => {
                warning.into_iter().for_each(|warning| self.warn(warning));
                (None, Some(identity), Vec::new())
            }
            Found::Missing(names) => {
                self.without_credential(&names);
                (None, None, names)
            }
            Found::Wrong(key, message) => {
                // A placeholder without a value was said where the address asks for it.
                if !self.problems.iter().any(|known| known.path.ends_with(&format!(".{key}"))) {
                    self.problem(key, message);
                }
                (None, None, Vec::new())
            }
        }
    }

    fn without_credential(&mut self, names: &[String]) {
        let names = if names.is_empty() { "its `api_key`".to_owned() } else { names.join(" or ") };
        self.warn(format!("has no credential and is not called until {names} is set"));
    }

    fn base_url(&mut self, read: &Reader<'_>, vars: &BTreeMap<String, String>) -> String {
        let Some(template) = read.text("base_url") else {
            if read.given("base_url").is_none() {
                self.problem(
                    "base_url",
                    "is needed: no shipped provider has this id; e.g. http://127.0.0.1:8000/v1",
                );
            }
            return String::new();
        };
        if !template.contains('{') {
            return template;
        }
        // A whole address of the operator's own is not replaced: it holds no placeholder.
        let region = vars.get("region").filter(|_| template.contains("{region}"));
        let of_region = region.and_then(|region| self.row.get("base_urls")?.get(region));
        let template = match of_region.map(|given| value::read(Kind::Url, given)) {
            Some(Ok(Typed::Text(address))) => address,
            _ => template,
        };
        let Some(filled) = self.filled(&template) else { return template };
        match value::url(&filled) {
            Ok(address) if !address.contains(['{', '}']) => address,
            Ok(_) => {
                self.problem("base_url", "holds a brace that is no placeholder; write {NAME}");
                template
            }
            Err(message) => {
                self.problem("base_url", format!("{message} (with its placeholders filled)"));
                template
            }
        }
    }

    /// Fills the placeholders; `None` when one has no value.
    fn filled(&mut self, template: &str) -> Option<String> {
        let mut filled = String::new();
        let mut rest = template;
        let mut complete = true;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            filled.push_str(before);
            match self.var(name) {
                Some(value) => place(&mut filled, &value),
                None => complete = false,
            }
            rest = after;
        }
        filled.push_str(rest);
        complete.then_some(filled)
    }

    /// Every value of `vars` that can be had; what is missing was reported where a placeholder asks for it.
    fn vars(&mut self) -> BTreeMap<String, String> {
        let Some(Value::Object(table)) = self.row.get("vars") else { return BTreeMap::new() };
        let reported = self.problems.len();
        let found = table.keys().filter_map(|name| Some((name.clone(), self.var(name)?))).collect();
        self.problems.truncate(reported);
        found
    }

    fn var(&mut self, name: &str) -> Option<String> {
        let key = format!("vars.{name}");
        let given = self.row.get("vars").and_then(|vars| vars.get(name)).filter(|value| !value.is_null());
        let Some(Ok(Typed::Text(text))) = given.map(|given| value::read(Kind::Var, given)) else {
            if given.is_none() {
                self.problem(
                    &key,
                    format!("is needed: base_url holds {{{name}}}; give it here or write the whole base_url"),
                );
            }
            return None;
        };
        let value = match text.strip_prefix("env:") {
            None => text,
            Some(variables) => {
                let mut values = variables.split(',').filter_map(|name| (self.outside.env)(name.trim()));
                match values.find(|value| !value.trim().is_empty()) {
                    Some(value) => value,
                    None => {
                        let names = variables.replace(',', " or ");
                        self.problem(
                            &key,
                            format!(
                                "is needed: set the environment variable {names}, or write the whole base_url"
                            ),
                        );
                        return None;
                    }
                }
            }
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b);
        if !value.bytes().all(allowed) {
            self.problem(&key, "holds characters that an address cannot hold");
            return None;
        }
        Some(value.trim_end_matches('/').to_owned())
    }

    fn headers(&mut self) -> BTreeMap<String, Secret> {
        let Some(Value::Object(table)) = self.row.get("headers") else { return BTreeMap::new() };
        let mut headers = BTreeMap::new();
        for (name, given) in table {
            let Ok(Typed::Text(text)) = value::read(Kind::Header, given) else { continue };
            let key = format!("headers.{name}");
            match secret::resolve(&text, self.outside) {
                // A literal header is rarely a secret: no warning.
                Ok(Resolved::Value(value, _)) => {
                    headers.insert(name.clone(), value);
                }
                Ok(Resolved::NotSet(variable)) => {
                    self.problem(
                        &key,
                        format!("environment variable {variable} is not set; set it or take the header out"),
                    );
                }
                Err(message) => self.problem(&key, message),
            }
        }
        headers
    }

    fn quirks(&mut self, read: &Reader<'_>) -> Quirks {
        let mut given = serde_json::Map::new();
        for key in &PROVIDER_KEYS {
            let Some(name) = key.path.strip_prefix("providers.*.quirks.") else { continue };
            let value = match read.typed_given(&format!("quirks.{name}")) {
                Some(Typed::Text(text)) => Value::String(text),
                Some(Typed::Bool(flag)) => Value::Bool(flag),
                Some(Typed::Names(names)) => names.into(),
                _ => continue,
            };
            given.insert(name.to_owned(), value);
        }
        if let Some(renames) = read.given("quirks.rename_params") {
            given.insert("rename_params".to_owned(), renames.clone());
        }
        // What cannot be read here was reported by the check against the table of keys.
        serde_json::from_value(Value::Object(given)).unwrap_or_default()
    }
}

/// Appends the value of a placeholder. One that brings its own scheme, as `DATABRICKS_HOST` does, replaces the template's.
fn place(filled: &mut String, value: &str) {
    let own_scheme = value.starts_with("https://") || value.starts_with("http://");
    if own_scheme && matches!(filled.as_str(), "https://" | "http://") {
        filled.clear();
    }
    filled.push_str(value);
}
