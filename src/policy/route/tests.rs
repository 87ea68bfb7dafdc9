//! Tables over a small catalogue: who answers what, in which order, or why nobody does.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

mod plans;
mod recorded;
mod refusals;
mod simulation;

const CATALOG: &str = r#"{"version":1,"models":[
{"id":"big","auto":true,"offers":[
  {"provider":"alpha","upstream":"big","context_window":100000,"max_output":4000,"capabilities":["tools","vision"],"price":{"rates":{"input":"3","output":"9"}}},
  {"provider":"beta","upstream":"Maker/Big-Instruct","context_window":1000,"capabilities":["tools"],"price":{"rates":{"input":"1","output":"3"}}},
  {"provider":"beta","upstream":"Maker/Big-Turbo","context_window":1000,"capabilities":[],"price":{"rates":{"input":"0.5","output":"1"}}},
  {"provider":"gamma","upstream":"big-g","capabilities":["tools","reasoning"]}]},
{"id":"gratis","auto":true,"offers":[
  {"provider":"beta","upstream":"maker/gratis","context_window":500,"max_output":100,"capabilities":[],"price":{"rates":{"input":"0","output":"0"}}},
  {"provider":"alpha","upstream":"gratis","capabilities":[],"price":{"rates":{"input":"0","output":"0"},"per_request":"0.01"}}]},
{"id":"gone","offers":[
  {"provider":"alpha","upstream":"gone","capabilities":[],"retires":"2026-01-31"},
  {"provider":"beta","upstream":"gone-b","capabilities":[],"retires":"2026-02-01"}]},
{"id":"half-gone","offers":[
  {"provider":"alpha","upstream":"half-gone","capabilities":[],"retires":"2026-01-31"},
  {"provider":"keyless","upstream":"half-gone","capabilities":[]}]},
{"id":"afar","offers":[
  {"provider":"keyless","upstream":"afar","capabilities":["tools"]},
  {"provider":"hinted","upstream":"afar","capabilities":["tools"]}]},
{"id":"homely","offers":[{"provider":"homemade","upstream":"homely","capabilities":[]}]}
]}"#;

/// An account of its own.
fn account(id: &str) -> Arc<Account> {
    Arc::new(Account::new(&Arc::new(crate::config::testing::row(id, 1)), Instant::now()))
}

fn router() -> Router {
    table(false, None)
}

/// alpha, beta and gamma have credentials, keyless has none, hinted and homemade are not configured.
fn table(strict: bool, auto: Option<Vec<String>>) -> Router {
    let upstream = |id: &str| Upstream {
        id: Arc::from(id),
        catalog: Arc::from(id),
        credentialed: id != "keyless",
        env: vec![format!("{}_KEY", id.to_uppercase())],
        account: account(id),
        rule: crate::config::testing::row(id, 1).admission,
    };
    let list = |targets: &[(&str, u32)]| -> Vec<Weighted> {
        targets.iter().map(|(model, weight)| ((*model).to_owned(), *weight)).collect()
    };
    let aliases = BTreeMap::from([
        ("fast".to_owned(), list(&[("alpha/big", 1), ("keyless/afar", 90), ("gamma/new", 3)])),
        ("zero".to_owned(), list(&[("alpha/big", 0), ("gamma/new", 1), ("gamma/new", 1)])),
        ("null".to_owned(), list(&[("gamma/new", 0), ("alpha/big", 0)])),
        ("lost".to_owned(), list(&[("nowhere", 1)])),
        ("shut".to_owned(), list(&[("nowhere", 1), ("keyless/afar", 1)])),
    ]);
    Router::new(
        Arc::new(Catalog::parse(CATALOG.as_bytes()).unwrap()),
        ["alpha", "beta", "gamma", "keyless"].map(upstream).into(),
        aliases,
        auto,
        BTreeMap::from([
            ("hinted".to_owned(), vec!["HINTED_KEY".to_owned()]),
            ("keyless".to_owned(), vec!["KEYLESS_KEY".to_owned()]),
        ]),
        strict,
    )
}

/// The same table with other providers.
fn serving(router: Router, upstreams: Vec<Upstream>) -> Router {
    Router { by_catalog: by_catalog(&upstreams), upstreams, ..router }
}

fn ask(model: &str) -> Ask {
    Ask { model: model.to_owned(), ..Ask::default() }
}

fn needing(model: &str, needs: &[Capability]) -> Ask {
    Ask { needs: needs.iter().fold(Capabilities::NONE, |all, one| all.with(*one)), ..ask(model) }
}

/// Plans on 2026-02-01 for a key that may use everything but what `denied` names (`provider/model`).
fn plan_without(router: &Router, ask: &Ask, random: u64, denied: &[&str]) -> Result<Plan, Error> {
    let allowed =
        |model: &str, provider: &str| !denied.iter().any(|one| *one == format!("{provider}/{model}"));
    router.plan(ask, &Now { today: "2026-02-01", at: Instant::now(), random, allowed: &allowed, notes: None })
}

/// The targets as `provider/upstream`, or the refusal as `status code: message`.
fn outcome(result: &Result<Plan, Error>) -> String {
    match result {
        Ok(plan) => {
            let targets: Vec<String> = plan
                .targets
                .iter()
                .map(|target| format!("{}/{}", target.provider, target.upstream))
                .collect();
            targets.join(" ")
        }
        Err(error) => format!("{} {}: {error}", error.class().status, error.code().unwrap_or("-")),
    }
}

fn check(ask: &Ask, expected: &str) {
    assert_eq!(outcome(&plan_without(&router(), ask, 0, &[])), expected, "{ask:?}");
}

/// The outcome holds each of these.
fn check_holds(ask: &Ask, expected: &[&str]) {
    let told = outcome(&plan_without(&router(), ask, 0, &[]));
    for part in expected {
        assert!(told.contains(part), "{told:?} lacks {part:?} for {ask:?}");
    }
}

proptest! {
    #[test]
    fn any_model_string_makes_a_plan_or_a_bounded_error(
        model in prop_oneof!["\\PC{0,40}", ".{0,400}", "(alpha|beta|hinted|gone|auto|big|fast)?/?[a-zA-Z/.:%-]{0,20}"],
        strict: bool, random: u64,
    ) {
        let result = plan_without(&table(strict, None), &ask(&model), random, &[]);
        match result {
            Ok(plan) => {
                prop_assert!(!plan.targets.is_empty() && plan.targets.len() <= TARGETS_MAX);
                let pinned = plan.requested_provider;
                prop_assert!(pinned.is_none_or(|id| plan.targets.len() == 1 && plan.targets[0].provider == id));
            }
            Err(error) => prop_assert!(error.to_string().len() < 1000, "{error}"),
        }
    }

    #[test]
    fn every_target_of_a_plan_can_do_what_is_needed(
        model in prop_oneof![Just("auto"), Just("big"), Just("fast"), Just("zero"), Just("gratis")],
        tools: bool, vision: bool, max_output in proptest::option::of(0..u64::MAX), prompt_estimate: u64, free_only: bool,
    ) {
        let needs = [(tools, Capability::Tools), (vision, Capability::Vision)];
        let needs: Vec<Capability> = needs.into_iter().filter(|(used, _)| *used).map(|(_, one)| one).collect();
        let ask = Ask { max_output, prompt_estimate, free_only, ..needing(model, &needs) };
        if let Ok(plan) = plan_without(&router(), &ask, 0, &[]) {
            for target in plan.targets {
                let Some(offer) = target.offer else { continue };
                prop_assert_eq!(offer.capabilities.lacking(ask.needs).count(), 0);
                prop_assert!(offer.max_output.is_none_or(|most| max_output.unwrap_or(0) <= most));
                prop_assert!(!free_only || offer.price.as_ref().is_some_and(|price| price.is_free()));
            }
        }
    }
}
