//! What can be answered: who is asked, and in which order.

use super::*;

#[test]
fn a_canonical_name_goes_to_every_provider_cheapest_first_and_unknown_prices_last() {
    check(&ask("big"), "beta/Maker/Big-Turbo alpha/big gamma/big-g");
    check(&needing("big", &[Capability::Tools]), "beta/Maker/Big-Instruct alpha/big gamma/big-g");
    check(&needing("big", &[Capability::Tools, Capability::Vision]), "alpha/big");
    check(&needing("big", &[Capability::Reasoning]), "gamma/big-g");
}

#[test]
fn a_provider_too_small_for_the_prompt_comes_last_under_a_name_and_not_at_all_under_auto() {
    let large = |model: &str| Ask { prompt_estimate: 2000, ..ask(model) };
    check(&large("big"), "alpha/big gamma/big-g beta/Maker/Big-Turbo");
    check(&large("auto"), "alpha/gratis alpha/big gamma/big-g");
    check(
        &Ask { prompt_estimate: u64::MAX, max_output: Some(u64::MAX), ..ask("gamma/big-g") },
        "gamma/big-g",
    );
}

#[test]
fn auto_takes_the_cheapest_of_the_pool_that_can_do_it() {
    check(&ask("auto"), "beta/maker/gratis alpha/gratis beta/Maker/Big-Turbo alpha/big gamma/big-g");
    check(&needing("auto", &[Capability::Vision]), "alpha/big");
    check(&Ask { max_output: Some(4000), ..ask("auto") }, "alpha/gratis alpha/big gamma/big-g");
}

#[test]
fn free_models_only_leaves_what_costs_anything_out() {
    check(&Ask { free_only: true, ..ask("auto") }, "beta/maker/gratis");
    // A fallback that is named would cost money, so it is not one.
    let fallbacks = vec!["alpha/big".to_owned()];
    check(&Ask { free_only: true, fallbacks, ..ask("auto") }, "beta/maker/gratis");
}

#[test]
fn the_operators_own_pool_replaces_the_catalogues() {
    let router = table(false, Some(vec!["big".to_owned(), "unknown".to_owned()]));
    let told = outcome(&plan_without(&router, &ask("auto"), 0, &[]));
    assert_eq!(told, "beta/Maker/Big-Turbo alpha/big gamma/big-g");
}

#[test]
fn a_pinned_model_stays_at_its_provider() {
    for (model, expected) in [
        ("alpha/big", "alpha/big"),
        ("beta/big", "beta/Maker/Big-Turbo"),
        ("beta/Maker/Big-Instruct", "beta/Maker/Big-Instruct"),
        ("gamma/big-g", "gamma/big-g"),
        // Another case is not another model: it has the same price, and the same rules of the key.
        ("beta/maker/BIG-instruct", "beta/Maker/Big-Instruct"),
        ("alpha/BIG", "alpha/big"),
        ("gamma/maker/new:free", "gamma/maker/new:free"),
        ("gamma/gamma/x", "gamma/gamma/x"),
        ("alpha/gone", "alpha/gone"),
    ] {
        let plan = plan_without(&router(), &ask(model), 0, &[]);
        assert_eq!(outcome(&plan), expected);
        let provider = model.split_once('/').unwrap().0;
        assert_eq!(plan.unwrap().requested_provider.as_deref(), Some(provider));
    }
    // Of the offers that one canonical name joins, the one that can do it.
    check(&needing("beta/big", &[Capability::Tools]), "beta/Maker/Big-Instruct");
}

#[test]
fn a_name_that_the_catalogue_knows_at_a_provider_carries_its_price() {
    let target = |model: &str| plan_without(&router(), &ask(model), 0, &[]).unwrap().targets.remove(0);
    let known = target("beta/Maker/Big-Instruct");
    assert_eq!((&*known.model, known.offer.is_some()), ("big", true));
    let unknown = target("beta/Maker/Other");
    assert_eq!((&*unknown.model, unknown.offer.is_none()), ("Maker/Other", true));
}

#[test]
fn nothing_is_refused_to_a_model_that_the_catalogue_does_not_know() {
    let all = Capability::ALL;
    check(&Ask { max_output: Some(u64::MAX), ..needing("gamma/new", &all) }, "gamma/new");
}

#[test]
fn provider_order_goes_before_price() {
    let preferring = |model: &str, order: &[&str]| Ask {
        provider_order: order.iter().map(|id| (*id).to_owned()).collect(),
        ..ask(model)
    };
    check(&preferring("big", &["gamma", "alpha"]), "gamma/big-g alpha/big beta/Maker/Big-Turbo");
    check(&preferring("big", &["nobody", "alpha"]), "alpha/big beta/Maker/Big-Turbo gamma/big-g");
    check(&preferring("zero", &["alpha"]), "alpha/big gamma/new");
    check(&preferring("gamma/new", &["alpha"]), "gamma/new");
}

#[test]
fn without_fallback_only_the_first_target_is_left() {
    let only = |model: &str| Ask { no_fallback: true, fallbacks: vec!["alpha/big".to_owned()], ..ask(model) };
    check(&only("big"), "beta/Maker/Big-Turbo");
    check(&only("zero"), "gamma/new");
    check_holds(&only("afar"), &["503 no_credentials"]);
}

#[test]
fn fallbacks_follow_the_plan_each_target_once() {
    let with = |model: &str, fallbacks: &[&str]| Ask {
        fallbacks: fallbacks.iter().map(|model| (*model).to_owned()).collect(),
        ..ask(model)
    };
    check(&with("alpha/big", &["gamma/new", "big"]), "alpha/big gamma/new beta/Maker/Big-Turbo gamma/big-g");
    check(&with("gamma/new", &["keyless/afar", "gone", "alpha/big"]), "gamma/new alpha/big");
    // Nobody serves the model itself: that is what fallbacks are for.
    check(&with("afar", &["alpha/big"]), "alpha/big");
    check(&with("gone", &["alpha/big"]), "alpha/big");
    check_holds(&with("afar", &["keyless/afar"]), &["503 no_credentials"]);
    check_holds(&with("alpha/big", &["gamma/new", "nonsense"]), &["400 model_not_found", "`nonsense`"]);
}

#[test]
fn a_long_plan_leaves_a_place_to_every_fallback() {
    let target = |number: usize| Target {
        health: Arc::default(),
        provider: Arc::from("p"),
        model: Arc::from("m"),
        upstream: Arc::from(number.to_string()),
        offer: None,
        ignore_soft: false,
    };
    let merged = merged(vec![(0..40).map(target).collect(), vec![target(50), target(51)], vec![target(60)]]);
    let names: Vec<&str> = merged.iter().map(|target| &*target.upstream).collect();
    assert_eq!((names.len(), &names[14..]), (TARGETS_MAX, &["50", "60"][..]));
}

#[test]
fn weights_choose_among_the_targets_of_an_alias_that_can_be_used() {
    let mut first = BTreeMap::<String, u32>::new();
    for random in 0..400 {
        let plan = plan_without(&router(), &ask("fast"), random, &[]).unwrap();
        assert_eq!((plan.targets.len(), plan.requested_provider), (2, None));
        *first.entry(plan.targets[0].provider.to_string()).or_default() += 1;
    }
    assert_eq!(first, BTreeMap::from([("alpha".to_owned(), 100), ("gamma".to_owned(), 300)]));
}

#[test]
fn a_weight_of_zero_is_never_first_while_another_is_there() {
    for random in [0, 1, 2, 77, u64::MAX] {
        let told = |alias: &str| outcome(&plan_without(&router(), &ask(alias), random, &[]));
        assert_eq!(told("zero"), "gamma/new alpha/big");
        assert_eq!(told("null"), "gamma/new alpha/big");
    }
}

#[test]
fn an_account_of_its_own_name_serves_the_offers_of_its_vendor() {
    let router = router();
    let mut upstreams = router.upstreams.clone();
    upstreams.push(Upstream { id: Arc::from("alpha-eu"), ..upstreams[0].clone() });
    let router = serving(router, upstreams);
    let told = |ask: &Ask| outcome(&plan_without(&router, ask, 0, &[]));
    assert_eq!(told(&needing("big", &[Capability::Vision])), "alpha/big alpha-eu/big");
    assert_eq!(told(&ask("alpha-eu/big")), "alpha-eu/big");
}

#[test]
fn an_alias_says_what_counts_and_when_to_hedge_and_a_session_keeps_its_target() {
    let rule = AliasRule { routing: Some(Routing::Price), hedge: Some(Hedge::P95) };
    let router = router().tuned(Tuning::default(), BTreeMap::from([("fast".to_owned(), rule)]));
    assert_eq!(plan_without(&router, &ask("fast"), 0, &[]).unwrap().hedge, Some(Hedge::P95));
    assert_eq!(plan_without(&router, &ask("big"), 0, &[]).unwrap().hedge, None);
    let mut seats = BTreeMap::<String, u32>::new();
    for session in 0..400 {
        let ask = Ask { session: Some(session_hash("key", &session.to_string())), ..ask("fast") };
        let first = outcome(&plan_without(&router, &ask, 0, &[]));
        assert_eq!(outcome(&plan_without(&router, &ask, u64::MAX - session, &[])), first);
        *seats.entry(first).or_default() += 1;
    }
    // Weights 1 and 3.
    assert!((60..140).contains(&seats["alpha/big gamma/new"]), "{seats:?}");
    assert_ne!(session_hash("key", "s"), session_hash("other", "s"));
}
