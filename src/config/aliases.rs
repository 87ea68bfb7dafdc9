//! Aliases: the operator's own names for weighted lists of targets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::problem::{Problem, near_miss};
use super::reader::Reader;
use super::settings::{Alias, AliasTarget, Settings};
use crate::chat::Routing;

/// Reads `models`; wrong shapes were reported by the check against the table, an alias without targets is here.
pub fn read(models: Option<&Value>, problems: &mut Vec<Problem>) -> BTreeMap<String, Alias> {
    let Some(Value::Object(table)) = models else { return BTreeMap::new() };
    let mut aliases = BTreeMap::new();
    for (name, given) in table {
        let path = format!("models.{name}.targets");
        if name == "auto" {
            problems.push(Problem::new(
                format!("models.{name}"),
                "is the gateway's own name; choose another, or list the pool of `auto` under `catalog.auto`",
            ));
            continue;
        }
        let items = match given.get("targets") {
            Some(Value::Array(items)) if !items.is_empty() => items.as_slice(),
            Some(Value::Array(_) | Value::Null) | None => {
                problems.push(Problem::new(
                    path,
                    "is needed: a list of targets, e.g. [{ model: openai/gpt-5-mini }]",
                ));
                continue;
            }
            Some(_) => continue,
        };
        let mut targets = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let read = Reader::new(item, "models.*.targets.#.");
            match read.text("model") {
                Some(model) => targets.push(AliasTarget { model, weight: weight(&read) }),
                None if read.given("model").is_none() && (item.is_object() || item.is_null()) => {
                    problems.push(Problem::new(
                        format!("{path}[{at}].model"),
                        "is needed: <provider>/<model> or a canonical name",
                    ));
                }
                None => {}
            }
        }
        let read = Reader::new(given, "models.*.");
        let hedge_after = read.duration("hedge_after");
        aliases.insert(
            name.clone(),
            Alias {
                targets,
                routing: read.text("routing").as_deref().and_then(Routing::parse),
                hedge: read.flag("hedge") || (read.given("hedge").is_none() && !hedge_after.is_zero()),
                hedge_after,
            },
        );
    }
    aliases
}

fn weight(read: &Reader<'_>) -> u32 {
    read.number("weight").and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1)
}

/// Checks where aliases point, providers only: `<provider>/<model>` needs a configured provider. A target at a shipped
/// provider that is not configured is left to a warning, because one file may serve places with different credentials.
pub fn check_providers(
    settings: &Settings,
    shipped: &[&str],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    for (path, target, name) in targets(settings) {
        if settings.aliases.contains_key(&target.model) {
            let message = format!("`{}` is an alias itself; name its targets here", target.model);
            problems.push(Problem::new(path, message));
            continue;
        }
        let Some((provider, _)) = target.model.split_once('/') else { continue };
        if settings.providers.contains_key(provider) {
            continue;
        }
        if shipped.contains(&provider) {
            warnings.push(format!(
                "models.{name}: its target `{}` is skipped: provider `{provider}` is not configured",
                target.model
            ));
            continue;
        }
        let known = settings.providers.keys().map(String::as_str).chain(shipped.iter().copied());
        let hint =
            near_miss(provider, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        problems.push(Problem::new(path, format!("there is no provider `{provider}`{hint}")));
    }
}

/// Checks names without a provider, those of alias targets and of `catalog.auto`: `known` says whether the catalogue has
/// that canonical name. Call it once the catalogue is loaded.
pub fn check_aliases(settings: &Settings, known: &dyn Fn(&str) -> bool) -> Vec<Problem> {
    let unknown =
        targets(settings).filter(|(_, target, _)| !target.model.contains('/') && !known(&target.model));
    let mut problems: Vec<Problem> = unknown
        .map(|(path, target, _)| {
            let message = format!(
                "the catalogue has no model `{0}`; write its canonical name, or <provider>/{0}",
                target.model
            );
            Problem::new(path, message)
        })
        .collect();
    let pool = settings.catalog.auto.iter().flatten().enumerate();
    problems.extend(pool.filter(|(_, name)| !known(name)).map(|(at, name)| {
        let message =
            format!("the catalogue has no model `{name}`; write canonical names, without a provider");
        Problem::new(format!("catalog.auto[{at}]"), message)
    }));
    problems
}

fn targets(settings: &Settings) -> impl Iterator<Item = (String, &AliasTarget, &str)> {
    settings.aliases.iter().flat_map(|(name, alias)| {
        let path = move |at: usize| format!("models.{name}.targets[{at}].model");
        alias.targets.iter().enumerate().map(move |(at, target)| (path(at), target, name.as_str()))
    })
}
