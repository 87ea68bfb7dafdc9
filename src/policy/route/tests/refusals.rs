//! What cannot be answered, and what the caller is told.

use super::*;

#[test]
fn an_unknown_name_is_404_in_openais_words_with_a_near_miss() {
    check(
        &ask("nonsense-model"),
        "404 model_not_found: The model `nonsense-model` does not exist or you do not have access to it.",
    );
    for (asked, near) in [
        ("half-gon", "half-gone"),
        ("HALF-GONE", "half-gone"),
        ("Big-Instruct", "big"),
        ("gratiss", "gratis"),
        ("fst", "fast"),
        ("alhpa/big", "alpha/big"),
        ("Alpha/big", "alpha/big"),
        ("somebody/gratis", "gratis"),
    ] {
        check_holds(&ask(asked), &["404 model_not_found", &format!("Did you mean `{near}`?")]);
    }
    for asked in ["", "/", "alpha/", "/big", "Auto", "big\n", "nowhere/else", "homemade/x"] {
        check_holds(&ask(asked), &["404 model_not_found"]);
    }
}

#[test]
fn a_strict_catalogue_refuses_names_it_does_not_know() {
    let router = table(true, None);
    let told = |model: &str| outcome(&plan_without(&router, &ask(model), 0, &[]));
    assert_eq!(told("alpha/big"), "alpha/big");
    assert!(told("alpha/new").starts_with("404 model_not_found"));
    assert!(told("hinted/new").starts_with("404 model_not_found"));
    assert!(told("alpha/gratiss").contains("`alpha/gratis`"));
}

#[test]
fn a_capability_that_is_lacking_is_named_with_the_model() {
    let lacking = "400 unsupported_capability";
    check_holds(&needing("alpha/big", &[Capability::Reasoning]), &[lacking, "`big`", "reasoning"]);
    check_holds(&needing("beta/Maker/Big-Turbo", &[Capability::Tools]), &[lacking, "`big` at beta", "tools"]);
    check_holds(&needing("gratis", &[Capability::Tools, Capability::Vision]), &[lacking, "tools, vision"]);
    check_holds(&needing("big", &[Capability::AudioInput]), &[lacking, "`big`", "audio"]);
    check_holds(&needing("auto", &[Capability::AudioInput]), &[lacking, "`auto`", "audio"]);
}

#[test]
fn more_output_than_a_model_can_write_is_refused() {
    let much = |model: &str, most: u64| Ask { max_output: Some(most), ..ask(model) };
    check(&much("alpha/big", 4000), "alpha/big");
    check_holds(&much("alpha/big", 4001), &["400 -: max_tokens is too large: 4001", "4000"]);
    check(&much("big", 4001), "gamma/big-g beta/Maker/Big-Turbo");
}

#[test]
fn auto_says_when_the_request_is_too_large_for_it() {
    let router = table(false, Some(vec!["gratis".to_owned(), "big".to_owned()]));
    let ask = Ask { prompt_estimate: 200_000, ..needing("auto", &[Capability::Vision]) };
    let told = outcome(&plan_without(&router, &ask, 0, &[]));
    assert!(told.starts_with("400 context_length_exceeded"), "{told}");
}

#[test]
fn free_models_only_needs_auto_and_a_free_model() {
    let free = |ask: Ask| Ask { free_only: true, ..ask };
    check_holds(&free(ask("big")), &["400 -", "`auto`"]);
    check_holds(&free(ask("alpha/big")), &["400 -", "`auto`"]);
    check_holds(&free(ask("fast")), &["400 -", "`auto`"]);
    check_holds(&free(needing("auto", &[Capability::Tools])), &["400 no_free_model"]);
    check_holds(&free(Ask { prompt_estimate: 501, ..ask("auto") }), &["400 no_free_model"]);
}

#[test]
fn a_model_that_every_provider_retired_is_410() {
    check_holds(&ask("gone"), &["410 model_retired", "`gone`"]);
    check_holds(&ask("half-gone"), &["503 no_credentials", "KEYLESS_KEY"]);
    let allowed = |_: &str, _: &str| true;
    let day_before =
        Now { today: "2026-01-31", at: Instant::now(), random: 0, allowed: &allowed, notes: None };
    assert_eq!(outcome(&router().plan(&ask("gone"), &day_before)), "beta/gone-b");
}

#[test]
fn a_known_model_without_a_credential_names_the_variables() {
    check_holds(&ask("afar"), &["503 no_credentials", "KEYLESS_KEY or HINTED_KEY"]);
    check_holds(&ask("keyless/afar"), &["503 no_credentials", "KEYLESS_KEY"]);
    check_holds(&ask("hinted/anything/at-all"), &["503 no_credentials", "HINTED_KEY"]);
    check_holds(&ask("homely"), &["503 no_credentials", "homemade"]);
    check_holds(&ask("shut"), &["503 no_credentials", "KEYLESS_KEY"]);
    check_holds(&ask("lost"), &["404 model_not_found"]);
}

#[test]
fn what_a_key_may_not_use_is_never_a_target() {
    let told = |model: &str, denied: &[&str]| outcome(&plan_without(&router(), &ask(model), 0, denied));
    assert_eq!(told("big", &["beta/big"]), "alpha/big gamma/big-g");
    assert!(told("alpha/big", &["alpha/big"]).starts_with("403 permission_denied"));
    assert!(told("beta/maker/big-instruct", &["beta/big"]).starts_with("403"));
    assert!(told("big", &["alpha/big", "beta/big", "gamma/big"]).starts_with("403"));
    assert!(told("alpha/new", &["alpha/new"]).starts_with("403"));
    assert!(told("keyless/afar", &["keyless/afar"]).starts_with("403"));
    assert!(told("hinted/afar", &["hinted/afar"]).starts_with("403"));
    assert!(told("afar", &["keyless/afar", "hinted/afar"]).starts_with("403"));
    assert_eq!(told("fast", &["alpha/big"]), "gamma/new");
    let all = ["alpha/big", "beta/big", "gamma/big", "alpha/gratis", "beta/gratis"];
    assert!(told("auto", &all).starts_with("403"));
    // The name of a capability that only a forbidden offer lacks is not told.
    let tools = needing("gratis", &[Capability::Tools]);
    let refused = plan_without(&router(), &tools, 0, &["alpha/gratis", "beta/gratis"]);
    assert!(outcome(&refused).starts_with("403"));
}

#[test]
fn without_any_provider_auto_names_the_variables() {
    let router = serving(table(false, Some(vec!["afar".to_owned()])), Vec::new());
    let told = outcome(&plan_without(&router, &ask("auto"), 0, &[]));
    assert!(told.contains("503 no_credentials") && told.contains("HINTED_KEY"), "{told}");
}
