//! Who may spend what, as the configuration declares it: keys of callers, projects, sets of tags, budgets.
//!
//! Bounds beyond a value's kind are checked where the same is taken through the API, by the same code.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde_json::{Map, Value};

use super::problem::Problem;
use super::reader::Reader;
use super::secret::{self, Outside, Resolved, Secret};
use super::value;
use crate::chat::Routing;
use crate::money::{Markup, Usd};
use crate::request_log::Logged;
use crate::rfc3339::parse_ms;

/// Everything that is declared of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Governance {
    /// Keys of callers, by name.
    pub keys: BTreeMap<String, KeyRow>,
    /// Projects, by name.
    pub projects: BTreeMap<String, RulesRow>,
    /// Sets of tags.
    pub tag_sets: Vec<(Vec<(String, String)>, RulesRow)>,
    /// What holds for all budgets.
    pub budgets: BudgetSettings,
}

/// What holds for all budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetSettings {
    /// IANA name of the time zone in which periods begin.
    pub time_zone: String,
    /// Who is told of thresholds.
    pub webhook: Option<Secret>,
    /// Signs what is sent there.
    pub webhook_secret: Option<Secret>,
}

/// What is known of a declared key's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyText {
    /// The text.
    Secret(Secret),
    /// Its SHA-256 and first characters.
    Digest([u8; 32], String),
}

/// A key that is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its text.
    pub text: KeyText,
    /// Project that it belongs to.
    pub project: Option<String>,
    /// When it ends, what it may use and spend.
    pub rules: RulesRow,
    /// Weight among keys that wait.
    pub share: u32,
    /// Highest priority of its calls: a word of the API.
    pub max_priority: Option<String>,
    /// What counts most in routing its calls.
    pub routing: Option<Routing>,
    /// It may ask how a request would be routed.
    pub explain: bool,
    /// Tags of its calls.
    pub tags: Vec<(String, String)>,
}

/// What keys and groups have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesRow {
    /// When it ends, milliseconds since the epoch.
    pub expires_ms: Option<i64>,
    /// Models that may be used.
    pub allow: Vec<String>,
    /// Models that may not.
    pub deny: Vec<String>,
    /// Requests per minute.
    pub rpm: Option<NonZeroU32>,
    /// Tokens per minute.
    pub tpm: Option<NonZeroU32>,
    /// Calls at a time.
    pub concurrency: Option<NonZeroU32>,
    /// What may be spent.
    pub budget: Option<BudgetRow>,
    /// What is charged on top.
    pub markup: Option<Markup>,
    /// Bodies that are stored; projects only.
    pub request_log: Logged,
}

/// A budget that is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRow {
    /// In each period.
    pub limit: Usd,
    /// A word of the API.
    pub period: String,
    /// Only tell.
    pub soft: bool,
    /// Percentages at which somebody is told.
    pub alerts: Vec<u8>,
}

/// Reads all of it; wrong shapes were reported by the check against the table, what is missing is here.
pub fn read(
    tree: &Value,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Governance {
    let mut keys = BTreeMap::new();
    for (name, row) in table(tree.get("keys")) {
        let path = format!("keys.{name}");
        let rules = rules(row, "keys.*.", &path, problems);
        if let Some(text) = text(row, &path, outside, problems, warnings) {
            keys.insert(name.clone(), key_row(row, text, rules));
        }
    }
    let projects = table(tree.get("projects"))
        .map(|(name, row)| (name.clone(), rules(row, "projects.*.", &format!("projects.{name}"), problems)))
        .collect();
    let listed = tree.get("tag_sets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let sets = listed.iter().enumerate();
    let tag_sets = sets
        .map(|(at, row)| (tags(row), rules(row, "tag_sets.#.", &format!("tag_sets[{at}]"), problems)))
        .collect();
    Governance { keys, projects, tag_sets, budgets: budgets(tree, outside, problems, warnings) }
}

fn table(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn key_row(row: &Value, text: KeyText, rules: RulesRow) -> KeyRow {
    let read = Reader::new(row, "keys.*.");
    KeyRow {
        text,
        project: read.text("project"),
        rules,
        share: read.number("share").and_then(|share| u32::try_from(share).ok()).unwrap_or(1),
        max_priority: read.text("max_priority"),
        routing: read.text("routing").as_deref().and_then(Routing::parse),
        explain: read.flag("explain"),
        tags: tags(row),
    }
}

/// The text of a key, or its digest. Without it the key cannot be declared, and what is not declared ends: so this is an
/// error where a provider without its credential is only left out.
fn text(
    row: &Value,
    path: &str,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<KeyText> {
    let read = Reader::new(row, "keys.*.");
    match (read.text("secret"), read.text("sha256"), read.text("prefix")) {
        (Some(reference), None, None) => {
            followed(&format!("{path}.secret"), &reference, outside, problems, warnings).map(KeyText::Secret)
        }
        (None, Some(hex), Some(prefix)) => {
            let digest = digest(&hex);
            if digest.is_none() {
                problems.push(Problem::new(format!("{path}.sha256"), "must be 64 hexadecimal digits"));
            }
            digest.map(|digest| KeyText::Digest(digest, prefix))
        }
        _ => {
            let message = "needs `secret` (env:NAME or file:PATH), or `sha256` and `prefix`, and not both";
            problems.push(Problem::new(path, message));
            None
        }
    }
}

/// Follows a reference that must lead to a value.
fn followed(
    path: &str,
    reference: &str,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<Secret> {
    match secret::resolve(reference, outside) {
        Ok(Resolved::Value(value, warning)) => {
            warnings.extend(warning.map(|warning| format!("{path}: {warning}")));
            return Some(value);
        }
        Ok(Resolved::NotSet(variable)) => {
            problems.push(Problem::new(path, format!("environment variable {variable} is not set")));
        }
        Err(message) => problems.push(Problem::new(path, message)),
    }
    None
}

/// Bytes of 64 hexadecimal digits.
fn digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Vec<u8> =
        (0..32).filter_map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()).collect();
    bytes.try_into().ok()
}

fn tags(row: &Value) -> Vec<(String, String)> {
    let given = table(row.get("tags"));
    given.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn rules(row: &Value, prefix: &'static str, path: &str, problems: &mut Vec<Problem>) -> RulesRow {
    let read = Reader::new(row, prefix);
    let limit =
        |key: &str| read.number(key).and_then(|number| u32::try_from(number).ok()).and_then(NonZeroU32::new);
    RulesRow {
        expires_ms: read.text("expires_at").and_then(|time| parse_ms(&time)),
        allow: read.names("models.allow").unwrap_or_default(),
        deny: read.names("models.deny").unwrap_or_default(),
        rpm: limit("rpm"),
        tpm: limit("tpm"),
        concurrency: limit("concurrency"),
        budget: budget(&read, path, problems),
        markup: if prefix.starts_with("tag_sets") {
            None
        } else {
            read.text("markup_percent").and_then(|percent| Markup::parse(&percent))
        },
        request_log: read.text("request_log").as_deref().and_then(Logged::parse).unwrap_or_default(),
    }
}

fn budget(read: &Reader<'_>, path: &str, problems: &mut Vec<Problem>) -> Option<BudgetRow> {
    read.given("budget").filter(|given| given.is_object())?;
    for name in ["limit_usd", "period"] {
        if read.given(&format!("budget.{name}")).is_none() {
            problems.push(Problem::new(format!("{path}.budget.{name}"), "is needed"));
        }
    }
    Some(BudgetRow {
        limit: read.text("budget.limit_usd")?.parse().ok()?,
        period: read.text("budget.period")?,
        soft: read.flag("budget.soft"),
        alerts: read.percentages("budget.alerts"),
    })
}

fn budgets(
    tree: &Value,
    outside: &Outside<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> BudgetSettings {
    let read = Reader::new(tree, "");
    // A plain address is as it should be: no warning.
    let webhook = read
        .text("budgets.webhook")
        .and_then(|reference| followed("budgets.webhook", &reference, outside, problems, &mut Vec::new()));
    if let Some(Err(message)) = webhook.as_ref().map(|url| value::url(url.expose())) {
        problems.push(Problem::new("budgets.webhook", message));
    }
    let webhook_secret = read
        .text("budgets.webhook_secret")
        .and_then(|reference| followed("budgets.webhook_secret", &reference, outside, problems, warnings));
    if webhook.is_some() && webhook_secret.is_none() && problems.is_empty() {
        warnings.push(
            "budgets.webhook: without `webhook_secret` nobody can tell whether a message came from here"
                .to_owned(),
        );
    }
    let time_zone = read.text("budgets.time_zone").unwrap_or_default();
    BudgetSettings { time_zone, webhook, webhook_secret }
}

/// What is shown of it: as it was given, secrets masked.
pub fn shown(tree: &Value, shown: &mut Map<String, Value>) {
    for section in ["keys", "projects", "tag_sets"] {
        let Some(given) = tree.get(section).filter(|given| !given.is_null()) else { continue };
        let mut given = given.clone();
        for (_, row) in given.as_object_mut().into_iter().flatten().filter(|_| section == "keys") {
            if let Some(Value::String(reference)) = row.get_mut("secret") {
                *reference = secret::shown(reference).to_owned();
            }
        }
        shown.insert(section.to_owned(), given);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outside, assemble};
    use super::*;

    fn outcome(text: &str) -> Result<super::super::Loaded, Vec<String>> {
        let env = |name: &str| (name == "SET").then(|| "lgw_text".to_owned());
        let outside = Outside { env: &env, file: &|_| Err("no files here".to_owned()) };
        let loaded = assemble(Some(("f", text)), [], &outside);
        loaded.map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn everything_declared_is_read() {
        let hex = "0f".repeat(32);
        let text = format!(
            "keys:
  search: {{ secret: 'env:SET', project: web, expires_at: '2030-01-01T00:00:00Z', models: {{ allow: ['gpt-*'] }}, rpm: 5,
    budget: {{ limit_usd: 12.5, period: month, alerts: [50, 90] }}, markup_percent: '-2.5', share: 3, max_priority: high,
    routing: price, explain: true, tags: {{ team: x }} }}
  ads: {{ sha256: '{hex}', prefix: lgw_abcd }}
projects:
  web site: {{ budget: {{ limit_usd: '7', period: day, soft: true }}, concurrency: 2 }}
tag_sets:
  - {{ tags: {{ team: x, env: prod }}, tpm: 9 }}
budgets: {{ time_zone: Europe/Berlin, webhook: 'http://127.0.0.1:9/hook', webhook_secret: 'env:SET' }}
"
        );
        let settings = outcome(&text).unwrap().settings;
        let governance = &settings.governance;
        let key = &governance.keys["search"];
        assert_eq!(key.text, KeyText::Secret(Secret::new("lgw_text")));
        assert_eq!(key.rules.expires_ms, Some(1_893_456_000_000));
        let budget = key.rules.budget.as_ref().unwrap();
        assert_eq!((budget.limit.to_string().as_str(), budget.period.as_str()), ("12.5", "month"));
        assert_eq!((budget.soft, budget.alerts.as_slice()), (false, [50, 90].as_slice()));
        assert_eq!(key.rules.markup.unwrap().to_string(), "-2.5");
        assert_eq!((key.share, key.max_priority.as_deref(), key.explain), (3, Some("high"), true));
        assert_eq!(key.tags, [("team".to_owned(), "x".to_owned())]);
        assert_eq!(governance.keys["ads"].text, KeyText::Digest([15; 32], "lgw_abcd".to_owned()));
        let project = governance.projects["web site"].budget.as_ref().unwrap();
        assert_eq!((project.soft, project.alerts.as_slice()), (true, [80, 100].as_slice()));
        assert_eq!((governance.tag_sets[0].0.len(), governance.tag_sets[0].1.tpm), (2, NonZeroU32::new(9)));
        assert_eq!(governance.budgets.time_zone, "Europe/Berlin");
        let shown = settings.effective.to_string();
        assert!(shown.contains("env:SET") && !shown.contains("lgw_text"), "{shown}");
        assert!(!shown.contains("9/hook"), "the address is masked: {shown}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        for (text, path) in [
            ("keys: { a: { secret: 'env:UNSET' } }", "keys.a.secret"),
            ("keys: { a: { project: p } }", "keys.a"),
            ("keys: { a: { secret: 'env:SET', sha256: x, prefix: y } }", "keys.a"),
            ("keys: { a: { sha256: x, prefix: y } }", "keys.a.sha256"),
            ("keys: { Big: { secret: 'env:SET' } }", "keys.Big"),
            ("keys: { a: { secret: 'env:SET', rpm: 0 } }", "keys.a.rpm"),
            ("keys: { a: { secret: 'env:SET', colour: red } }", "keys.a.colour"),
            ("projects: { p: { budget: { period: day } } }", "projects.p.budget.limit_usd"),
            ("projects: { p: { budget: { limit_usd: '1' } } }", "projects.p.budget.period"),
            ("projects: { p: { budget: { limit_usd: '1e3', period: day } } }", "projects.p.budget.limit_usd"),
            ("projects: { p: { budget: { limit_usd: '1', period: year } } }", "projects.p.budget.period"),
            ("projects: { p: { markup_percent: 0.001 } }", "projects.p.markup_percent"),
            ("projects: { p: { expires_at: soon } }", "projects.p.expires_at"),
            ("tag_sets: [ { tags: { a: b }, markup_percent: 1 } ]", "tag_sets[0].markup_percent"),
            (
                "tag_sets: [ { tags: { a: b }, budget: { limit_usd: '1', period: day, alerts: [x] } } ]",
                "tag_sets[0].budget.alerts",
            ),
            ("budgets: { webhook: 'ftp://x' }", "budgets.webhook"),
        ] {
            let problems = outcome(text).unwrap_err();
            assert!(
                problems.iter().any(|problem| problem.starts_with(&format!("{path}:"))),
                "{text}: {problems:?}"
            );
        }
    }
}
