//! An excerpt of the real file, imported and read back.

use super::*;
use crate::catalog::{Capability, Catalog, Offer, Rates, ServiceTier};
use crate::money::Usd;

const EXCERPT: &[u8] = include_bytes!("../../../tests/fixtures/catalog/litellm-excerpt.json");

fn imported(overlay: &str) -> (Document, Report, Catalog) {
    let (document, report) = import(EXCERPT, &serde_json::from_str(overlay).unwrap()).unwrap();
    let catalog = Catalog::parse(document.render().as_bytes()).unwrap();
    (document, report, catalog)
}

fn rates(offer: &Offer) -> Rates {
    offer.price.as_ref().unwrap().rates.clone()
}

fn units(rate: Option<Usd>) -> Option<i64> {
    rate.map(Usd::units)
}

#[test]
fn an_import_is_read_back_with_equal_prices() {
    let (document, _, catalog) = imported("{}");
    assert_eq!(serde_json::from_str::<Document>(&document.render()).unwrap(), document);
    let mut prices = 0;
    for entry in document.models.iter().flat_map(|model| &model.offers) {
        let offer = catalog.offer(&entry.provider, &entry.upstream).unwrap();
        let read = offer.price.as_deref().map(crate::catalog::scale::per_million);
        assert_eq!(read, entry.price, "{}/{}", entry.provider, entry.upstream);
        prices += 1;
    }
    assert_eq!(prices, document.models.iter().map(|model| model.offers.len()).sum::<usize>());
}

#[test]
fn prices_are_those_of_the_file_to_the_last_digit() {
    let (_, report, catalog) = imported("{}");
    // Per token, in units of 1e-12 USD, as the vendors' price lists have them.
    for (provider, name, input, output, cached) in [
        ("openai", "gpt-5-mini", 250_000, 2_000_000, Some(25_000)),
        ("groq", "gpt-oss-120b", 150_000, 600_000, Some(75_000)),
        ("cerebras", "gpt-oss-120b", 350_000, 750_000, None),
        ("alibaba", "qwen-flash", 50_000, 400_000, None),
        ("together", "llama-3.3-70b", 1_040_000, 1_040_000, None),
        // Written as 8.000000000000001e-07.
        ("novita", "kimi-k2.6", 800_000, 3_400_000, Some(160_000)),
    ] {
        let rates = rates(catalog.offer(provider, name).unwrap());
        let found = (units(rates.input), units(rates.output), units(rates.cache_read));
        assert_eq!(found, (Some(input), Some(output), cached), "{provider}/{name}");
    }
    assert_eq!(report.rounded, ["novita/moonshotai/kimi-k2.6: input_cost_per_token"]);
}

#[test]
fn tiers_of_size_and_service_and_cache_writes_are_taken() {
    let (_, _, catalog) = imported("{}");
    let price = |provider: &str, name: &str| catalog.offer(provider, name).unwrap().price.clone().unwrap();
    let gpt = price("openai", "gpt-5.4");
    let above: Vec<_> = gpt.above.iter().map(|tier| (tier.above, units(tier.rates.input))).collect();
    assert_eq!(above, [(272_000, Some(5_000_000))]);
    let flex = &gpt.service[&ServiceTier::Flex];
    assert_eq!(
        (units(flex.rates.input), units(flex.above[0].rates.output)),
        (Some(1_250_000), Some(11_250_000))
    );
    let qwen = price("alibaba", "qwen-flash");
    let above: Vec<_> = qwen.above.iter().map(|tier| (tier.above, units(tier.rates.output))).collect();
    assert_eq!(above, [(256_000, Some(2_000_000))]);
    let claude = price("anthropic", "claude-sonnet-4-5");
    assert_eq!(units(claude.rates.cache_write_5m), Some(3_750_000));
    assert_eq!(units(claude.rates.cache_write_1h), Some(6_000_000));
    assert_eq!(units(price("perplexity", "sonar").web_search), Some(8_000_000_000));
}

#[test]
fn one_model_at_several_providers_is_one_and_different_models_stay_apart() {
    let (_, _, catalog) = imported("{}");
    let providers = |model: &str| -> Vec<String> {
        catalog.model(model).unwrap().offers.iter().map(|offer| offer.provider.to_string()).collect()
    };
    assert_eq!(providers("gpt-oss-120b"), ["groq", "cerebras", "bedrock"]);
    assert_eq!(providers("llama-3.3-70b"), ["fireworks", "together"]);
    assert_eq!(providers("mistral-large"), ["mistral"]);
    assert_eq!(providers("mistral-large-2402"), ["azure"]);
}

#[test]
fn what_is_left_is_counted_with_its_reason() {
    let (document, report, _) = imported("{}");
    let left: Vec<(&str, usize)> =
        report.left.iter().map(|(reason, names)| (reason.as_str(), names.len())).collect();
    assert_eq!(
        left,
        [
            ("a price class, not a model", 1),
            ("a tool's price, not a model", 2),
            ("listed twice", 1),
            ("mode embedding", 1),
            ("price of one region", 1),
            ("provider inferenceapis", 1),
        ]
    );
    let entries: Map<String, Value> = serde_json::from_slice(EXCERPT).unwrap();
    assert_eq!(report.taken + left.iter().map(|(_, count)| count).sum::<usize>(), entries.len());
    assert_eq!(report.taken, document.models.iter().map(|model| model.offers.len()).sum::<usize>());
}

#[test]
fn a_correction_adds_a_capability_to_the_offer_or_model_it_names() {
    let can = |overlay: &str| {
        let (_, _, catalog) = imported(overlay);
        let offer = catalog.offer("deepseek", "deepseek-reasoner").unwrap();
        (offer.capabilities.contains(Capability::Tools), offer.capabilities.contains(Capability::Reasoning))
    };
    assert_eq!(can("{}"), (false, true));
    assert_eq!(can(r#"{"deepseek/deepseek-reasoner": ["tools"]}"#), (true, true));
    assert_eq!(can(r#"{"deepseek-reasoner": ["tools"]}"#), (true, true));
}

#[test]
fn a_correction_about_nothing_is_reported_and_one_of_no_capability_is_an_error() {
    let (_, report, _) = imported(r#"{"deepseek/gone": ["tools"], "gpt-5-mini": ["tools"]}"#);
    assert_eq!(report.unused, ["deepseek/gone"]);
    let overlay = serde_json::from_str(r#"{"gpt-5-mini": ["toolz"]}"#).unwrap();
    assert!(import(EXCERPT, &overlay).unwrap_err().contains("toolz"));
}

#[test]
fn what_only_the_responses_api_serves_is_taken_where_it_can_be_asked_there() {
    let file = r#"{
        "gpt-5-pro": {"mode": "responses", "litellm_provider": "openai"},
        "azure/codex-mini": {"mode": "responses", "litellm_provider": "azure"},
        "xai/grok-4.20-multi-agent": {"mode": "responses", "litellm_provider": "xai"},
        "perplexity/preset/pro-search": {"mode": "responses", "litellm_provider": "perplexity"},
        "computer-use-preview": {"mode": "chat", "litellm_provider": "openai", "supported_endpoints": ["/v1/responses"]},
        "gpt-5": {"mode": "chat", "litellm_provider": "openai",
            "supported_endpoints": ["/v1/chat/completions", "/v1/responses"]},
        "gpt-4o": {"mode": "chat", "litellm_provider": "openai"}
    }"#;
    let (document, report) = import(file.as_bytes(), &Overlay::new()).unwrap();
    let catalog = Catalog::parse(document.render().as_bytes()).unwrap();
    for (provider, name, only) in [
        ("openai", "gpt-5-pro", true),
        ("azure", "codex-mini", true),
        ("xai", "grok-4.20-multi-agent", true),
        ("openai", "computer-use-preview", true),
        ("openai", "gpt-5", false),
        ("openai", "gpt-4o", false),
    ] {
        let offer = catalog.offer(provider, name).unwrap();
        assert_eq!(offer.traits.has(crate::chat::Trait::ResponsesOnly), only, "{provider}/{name}");
    }
    assert_eq!(report.left["served by the Responses API only"], ["perplexity/preset/pro-search"]);
}

#[test]
fn what_is_not_a_price_file_is_one_line() {
    for bytes in [&b"[]"[..], b"{", b"\xff", b"{}"] {
        let error = import(bytes, &Overlay::new()).unwrap_err();
        assert!(!error.contains('\n') && error.contains("LiteLLM"), "{error}");
    }
}

#[test]
fn the_shipped_catalogue_holds_the_auto_pool_and_the_known_models_of_every_priced_provider() {
    let catalog = Catalog::embedded().unwrap();
    let pool: Vec<&str> = catalog.auto_pool().map(|model| &*model.id).collect();
    let mut wanted = AUTO.to_vec();
    wanted.sort_unstable();
    assert_eq!(pool, wanted);
    for (provider, name) in [
        ("openai", "gpt-5-mini"),
        ("openai", "gpt-4o"),
        ("openai", "gpt-5-pro"),
        ("azure", "gpt-4o"),
        ("anthropic", "claude-haiku-4-5"),
        ("gemini", "gemini-2.5-flash"),
        ("vertex", "gemini-2.5-pro"),
        ("bedrock", "claude-haiku-4-5"),
        ("mistral", "mistral-large"),
        ("groq", "gpt-oss-120b"),
        ("deepseek", "deepseek-v4-flash"),
        ("xai", "grok-4.3"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("fireworks", "deepseek-v3.1"),
        ("cerebras", "llama-3.3-70b"),
        ("perplexity", "sonar"),
        ("cohere", "command-a-03-2025"),
        ("deepinfra", "llama-3.3-70b"),
        ("novita", "llama-3.3-70b"),
        ("nebius", "qwen3-32b"),
        ("sambanova", "llama-3.3-70b"),
        ("hyperbolic", "llama-3.3-70b"),
        ("moonshot", "kimi-k2.6"),
        ("zai", "glm-4.6"),
        ("minimax", "minimax-m2"),
        ("alibaba", "qwen-flash"),
        ("lambda", "llama-3.3-70b"),
        ("wandb", "llama-3.3-70b"),
        ("baseten", "gpt-oss-120b"),
        ("cloudflare", "gpt-oss-20b"),
    ] {
        let offer = catalog.offer(provider, name);
        assert!(offer.is_some_and(|offer| offer.price.is_some()), "{provider}/{name}");
    }
}
