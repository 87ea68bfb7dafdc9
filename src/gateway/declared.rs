//! What the configuration declares of keys, projects and sets of tags, as the store takes it: checked by the same code
//! as what operators say through the API. Pure.

use crate::config::{BudgetRow, Governance, KeyRow, KeyText, Problem, RulesRow};
use crate::policy::admission::Priority;
use crate::policy::budget::{Budget, Calendar, Period};
use crate::policy::quota::Limits;
use crate::store::key::{self, PREFIX_LEN};
use crate::store::{
    Declared, DeclaredKey, GroupKind, GroupSpec, Handling, KeySpec, ModelRules, check_group, tags_name,
};

/// Turns it into records.
///
/// # Errors
/// Everything that is out of bounds, each with its path.
pub fn declared(governance: &Governance) -> Result<Declared, Vec<Problem>> {
    let mut problems = Vec::new();
    if Calendar::of(&governance.budgets.time_zone).is_none() {
        let message = "is no time zone; write its IANA name, such as UTC or Europe/Berlin";
        problems.push(Problem::new("budgets.time_zone", message));
    }
    let mut keys: Vec<DeclaredKey> = Vec::new();
    for (name, row) in &governance.keys {
        match declared_key(name, row) {
            Err(problem) => problems.push(problem),
            Ok(key) => match keys.iter().find(|other| other.digest == key.digest) {
                Some(other) => {
                    let message = format!("has the text of keys.{}; each key needs its own", other.id);
                    problems.push(Problem::new(format!("keys.{name}"), message));
                }
                None => keys.push(key),
            },
        }
    }
    let projects = governance
        .projects
        .iter()
        .map(|(name, row)| (format!("projects.{name}"), GroupKind::Project, name.clone(), group_spec(row)));
    let sets = governance.tag_sets.iter().enumerate().map(|(at, (tags, row))| {
        (format!("tag_sets[{at}]"), GroupKind::Tags, tags_name(tags), group_spec(row))
    });
    let mut groups: Vec<(GroupKind, String, GroupSpec)> = Vec::new();
    for (path, kind, name, spec) in projects.chain(sets) {
        if let Err(error) = check_group(kind, &name, &spec) {
            let path = error.param().map_or_else(|| path.clone(), |param| format!("{path}.{param}"));
            problems.push(Problem::new(path, error.to_string()));
        } else if groups.iter().any(|other| (other.0, &other.1) == (kind, &name)) {
            problems.push(Problem::new(path, "is declared twice"));
        } else {
            groups.push((kind, name, spec));
        }
    }
    if problems.is_empty() { Ok(Declared { keys, groups }) } else { Err(problems) }
}

fn declared_key(name: &str, row: &KeyRow) -> Result<DeclaredKey, Problem> {
    let path = format!("keys.{name}");
    let (digest, prefix) = match &row.text {
        KeyText::Digest(digest, prefix) => (*digest, prefix.clone()),
        KeyText::Secret(secret) => {
            let presented = key::parse(secret.expose()).ok_or_else(|| {
                let message = "is not the text of a key; make one with `llm-gateway keys create`";
                Problem::new(format!("{path}.secret"), message)
            })?;
            (presented.digest(), secret.expose().chars().take(PREFIX_LEN).collect())
        }
    };
    if prefix.len() != PREFIX_LEN || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("must be the first {PREFIX_LEN} characters of the key");
        return Err(Problem::new(format!("{path}.prefix"), message));
    }
    let spec = KeySpec {
        name: name.to_owned(),
        project: row.project.clone(),
        expires_ms: row.rules.expires_ms,
        models: models(&row.rules),
        limits: limits(&row.rules),
        budget: row.rules.budget.as_ref().map(budget),
        markup: row.rules.markup,
        handling: Handling {
            share: row.share,
            max_priority: row.max_priority.as_deref().and_then(Priority::parse).unwrap_or_default(),
            routing: row.routing,
            explain: row.explain,
        },
        tags: row.tags.clone(),
    };
    spec.check().map_err(|error| {
        let at = error.param().map_or_else(|| path.clone(), |param| format!("{path}.{param}"));
        Problem::new(at, error.to_string())
    })?;
    Ok(DeclaredKey { id: name.to_owned(), digest, prefix, spec })
}

fn group_spec(row: &RulesRow) -> GroupSpec {
    GroupSpec {
        expires_ms: row.expires_ms,
        models: models(row),
        limits: limits(row),
        budget: row.budget.as_ref().map(budget),
        markup: row.markup,
        request_log: row.request_log,
    }
}

fn models(row: &RulesRow) -> ModelRules {
    ModelRules { allow: row.allow.clone(), deny: row.deny.clone() }
}

fn limits(row: &RulesRow) -> Limits {
    Limits { rpm: row.rpm, tpm: row.tpm, concurrency: row.concurrency }
}

/// The table of keys admits the words of periods alone.
fn budget(row: &BudgetRow) -> Budget {
    let period = Period::parse(&row.period).unwrap_or(Period::Total);
    Budget { limit: row.limit, period, soft: row.soft, alerts: row.alerts.clone() }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::config::{Outside, assemble};

    fn outcome(text: &str) -> Result<Declared, Vec<String>> {
        let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
        let loaded = assemble(Some(("f", text)), [], &outside).unwrap();
        declared(&loaded.settings.governance).map_err(|all| all.iter().map(|one| one.path.clone()).collect())
    }

    #[test]
    fn what_is_out_of_bounds_is_named_by_its_path() {
        let key = key::FreshKey::generate().unwrap();
        let text = key.expose();
        for (given, path) in [
            ("keys: { a: { secret: lgw_none } }".to_owned(), "keys.a.secret"),
            (format!("keys: {{ a: {{ secret: {text} }}, b: {{ secret: {text} }} }}"), "keys.b"),
            (
                format!("keys: {{ a: {{ secret: {text}, models: {{ allow: ['a b'] }} }} }}"),
                "keys.a.models.allow[0]",
            ),
            (format!("keys: {{ a: {{ secret: {text}, tags: {{ 'a,b': c }} }} }}"), "keys.a.tags.a,b"),
            (format!("keys: {{ a: {{ sha256: '{}', prefix: short }} }}", "00".repeat(32)), "keys.a.prefix"),
            (
                "projects: { p: { budget: { limit_usd: 0, period: day } } }".to_owned(),
                "projects.p.budget.limit_usd",
            ),
            (
                "projects: { p: { budget: { limit_usd: 1, period: day, alerts: [9, 8] } } }".to_owned(),
                "projects.p.budget.alerts",
            ),
            ("tag_sets: [ { rpm: 1 } ]".to_owned(), "tag_sets[0].tags"),
            ("tag_sets: [ { tags: { a: b, c: d } }, { tags: { c: d, a: b } } ]".to_owned(), "tag_sets[1]"),
            ("budgets: { time_zone: Mars/Olympus }".to_owned(), "budgets.time_zone"),
        ] {
            assert_eq!(outcome(&given).unwrap_err(), [path], "{given}");
        }
    }

    #[test]
    fn a_declared_key_is_known_by_its_text_or_its_digest_alike() {
        let key = key::FreshKey::generate().unwrap();
        let hex: String = Sha256::digest(key.expose()).iter().map(|byte| format!("{byte:02x}")).collect();
        let by_text = outcome(&format!("keys: {{ a: {{ secret: {} }} }}", key.expose())).unwrap();
        let by_digest =
            outcome(&format!("keys: {{ a: {{ sha256: {hex}, prefix: {} }} }}", key.prefix())).unwrap();
        assert_eq!(by_text, by_digest);
        assert_eq!(by_text.keys[0].key_id(), "key_a");
    }
}
