//! One entry of LiteLLM's file: limits, capabilities, prices.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::catalog::file::OfferEntry;
use crate::catalog::scale::per_million;
use crate::catalog::{Price, Rates, ServiceTier, SizeTier, TierPrice};
use crate::chat::Trait;
use crate::money::Usd;

/// What an entry says explicitly: capability -> yes or no.
pub type Claims = BTreeMap<&'static str, bool>;

/// Capabilities that the file speaks of, by our names.
pub const CAPABILITIES: &[&str] = &[
    "tools",
    "vision",
    "audio",
    "audio_output",
    "file",
    "video",
    "json_schema",
    "reasoning",
    "image_output",
    "web_search",
    "prompt_caching",
    "parallel_tools",
];

/// LiteLLM's flag -> our capability. Several flags may say the same.
const FLAGS: &[(&str, &str)] = &[
    ("supports_function_calling", "tools"),
    ("supports_vision", "vision"),
    ("supports_audio_input", "audio"),
    ("supports_audio_output", "audio_output"),
    ("supports_pdf_input", "file"),
    ("supports_video_input", "video"),
    ("supports_response_schema", "json_schema"),
    ("supports_native_structured_output", "json_schema"),
    ("supports_reasoning", "reasoning"),
    ("supports_web_search", "web_search"),
    ("supports_prompt_caching", "prompt_caching"),
    ("supports_parallel_function_calling", "parallel_tools"),
];

/// Prompt sizes, in thousands of tokens, from which other prices apply.
const SIZES: &[u64] = &[100, 128, 200, 256, 272, 512];

/// An entry as an offer (capabilities still to be settled), what it claims, and which prices were rounded.
pub fn offer(provider: &str, upstream: &str, value: &Value) -> (OfferEntry, Claims, Vec<String>) {
    let count = |name: &str| {
        let number = value.get(name)?;
        number.as_u64().or_else(|| number.as_f64().map(|float| float as u64)).filter(|count| *count > 0)
    };
    let mut rounded = Vec::new();
    let price = price(value, &mut rounded);
    let offer = OfferEntry {
        provider: provider.to_owned(),
        upstream: upstream.to_owned(),
        context_window: count("max_input_tokens").or_else(|| count("max_tokens")),
        max_output: count("max_output_tokens"),
        capabilities: Vec::new(),
        traits: traits(value),
        retires: value.get("deprecation_date").and_then(Value::as_str).map(str::to_owned),
        price: price.map(|price| per_million(&price)),
    };
    (offer, claims(value), rounded)
}

/// LiteLLM's flag -> our trait, where `true` says so.
const TRAITS: &[(&str, Trait)] = &[
    ("supports_adaptive_thinking", Trait::AdaptiveThinking),
    ("supports_legacy_thinking", Trait::BudgetThinking),
    ("supports_native_structured_output", Trait::NativeSchema),
    ("supports_bedrock_native_structured_output", Trait::NativeSchema),
    ("supports_minimal_reasoning_effort", Trait::MinimalEffort),
    ("supports_xhigh_reasoning_effort", Trait::XhighEffort),
    ("supports_max_reasoning_effort", Trait::MaxEffort),
];

/// Controls and habits. Thinking that is not said to be adaptive is steered by a budget.
fn traits(value: &Value) -> Vec<String> {
    let says = |flag: &str| value.get(flag).and_then(Value::as_bool);
    let mut found: Vec<Trait> =
        TRAITS.iter().filter(|(flag, _)| says(flag) == Some(true)).map(|(_, one)| *one).collect();
    if says("supports_reasoning") == Some(true) && says("supports_adaptive_thinking") != Some(true) {
        found.push(Trait::BudgetThinking);
    }
    if says("supports_sampling_params") == Some(false) {
        found.push(Trait::FixedSampling);
    }
    if says("supports_forced_tool_use") == Some(false) {
        found.push(Trait::FreeToolsOnly);
    }
    if responses_only(value) {
        found.push(Trait::ResponsesOnly);
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|one| one.name().to_owned()).collect()
}

/// True for what the Responses API serves and chat completions do not: by its mode, or by the addresses it lists.
pub fn responses_only(value: &Value) -> bool {
    let listed = value.get("supported_endpoints").and_then(Value::as_array);
    let lists = |word: &str| {
        listed.into_iter().flatten().filter_map(Value::as_str).any(|endpoint| endpoint.contains(word))
    };
    match value.get("mode").and_then(Value::as_str) {
        Some("responses") => true,
        _ => lists("/responses") && !lists("/chat/completions"),
    }
}

fn claims(value: &Value) -> Claims {
    let mut claims = Claims::new();
    for (flag, capability) in FLAGS {
        if let Some(says) = value.get(*flag).and_then(Value::as_bool) {
            let known = claims.get(capability).copied().unwrap_or(false);
            claims.insert(capability, says || known);
        }
    }
    let lists = [
        ("supported_modalities", "image", "vision"),
        ("supported_modalities", "audio", "audio"),
        ("supported_output_modalities", "image", "image_output"),
    ];
    for (list, word, capability) in lists {
        if value.get(list).and_then(Value::as_array).is_some_and(|list| list.iter().any(|one| one == word)) {
            claims.insert(capability, true);
        }
    }
    claims
}

/// Prices in USD per token; `None` when there is neither an input nor an output price.
fn price(value: &Value, rounded: &mut Vec<String>) -> Option<Price> {
    let mut base = rates(value, "", rounded);
    let mut above = sizes(value, "", rounded);
    for tier in tiered(value, rounded) {
        if tier.above > 0 {
            above.push(tier);
        } else if base == Rates::default() {
            base = tier.rates;
        }
    }
    base.input.or(base.output)?;
    above.sort_by_key(|tier| tier.above);
    let mut price = Price { rates: base, above, ..Price::default() };
    price.per_request = amount(value.get("input_cost_per_request"));
    price.web_search = amount(value.pointer("/search_context_cost_per_query/search_context_size_medium"));
    for (tier, suffix) in
        [(ServiceTier::Flex, "_flex"), (ServiceTier::Priority, "_priority"), (ServiceTier::Batch, "_batches")]
    {
        let rates = rates(value, suffix, rounded);
        if rates != Rates::default() {
            price.service.insert(tier, TierPrice { rates, above: sizes(value, suffix, rounded) });
        }
    }
    Some(price)
}

/// The rates whose names end in `suffix`.
fn rates(value: &Value, suffix: &str, rounded: &mut Vec<String>) -> Rates {
    let mut rate = |name: &str| {
        let name = format!("{name}{suffix}");
        let (units, exact) = decimal(&value.get(&name)?.to_string())?;
        if !exact {
            rounded.push(name);
        }
        Some(Usd::from_units(units))
    };
    Rates {
        input: rate("input_cost_per_token"),
        output: rate("output_cost_per_token"),
        cache_read: rate("cache_read_input_token_cost").or_else(|| rate("input_cost_per_token_cache_hit")),
        cache_write_5m: rate("cache_creation_input_token_cost"),
        cache_write_1h: rate("cache_creation_input_token_cost_above_1hr"),
        reasoning: rate("output_cost_per_reasoning_token"),
        audio_input: rate("input_cost_per_audio_token"),
        audio_output: rate("output_cost_per_audio_token"),
        image_input: rate("input_cost_per_image_token"),
        image_output: rate("output_cost_per_image_token"),
    }
}

/// Size tiers by field name.
fn sizes(value: &Value, suffix: &str, rounded: &mut Vec<String>) -> Vec<SizeTier> {
    let tiers = SIZES.iter().map(|thousands| SizeTier {
        above: thousands * 1000,
        rates: rates(value, &format!("_above_{thousands}k_tokens{suffix}"), rounded),
    });
    tiers.filter(|tier| tier.rates != Rates::default()).collect()
}

/// Size tiers as a list of ranges; the range that begins at 0 is the base price, unless flat fields name one.
fn tiered(value: &Value, rounded: &mut Vec<String>) -> Vec<SizeTier> {
    let list = value.get("tiered_pricing").and_then(Value::as_array);
    let tiers = list.into_iter().flatten().filter_map(|tier| {
        let above = tier.pointer("/range/0")?.as_f64()? as u64;
        Some(SizeTier { above, rates: rates(tier, "", rounded) })
    });
    tiers.filter(|tier| tier.rates != Rates::default()).collect()
}

/// An amount of money that is not per token.
fn amount(value: Option<&Value>) -> Option<Usd> {
    let (units, _) = decimal(&value?.to_string())?;
    (units != 0).then(|| Usd::from_units(units))
}

/// A written number (`2.5e-7`, `0.000002`) in units of 1e-12, and whether that was exact; halves are rounded up.
fn decimal(text: &str) -> Option<(i64, bool)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = 12 + exponent - i32::try_from(fraction.len()).ok()?;
    if shift >= 0 {
        let scaled = digits.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?;
        return Some((i64::try_from(scaled).ok()?, true));
    }
    let divisor = 10_i128.checked_pow(shift.unsigned_abs())?;
    let rounded = (digits + divisor / 2).div_euclid(divisor);
    Some((i64::try_from(rounded).ok()?, digits % divisor == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_numbers_become_exact_units() {
        for (text, expected) in [
            ("2.5e-07", Some((250_000, true))),
            ("2.5e-7", Some((250_000, true))),
            ("0.000002", Some((2_000_000, true))),
            ("0", Some((0, true))),
            ("1e-12", Some((1, true))),
            ("1.5e-12", Some((2, false))),
            ("0.01", Some((10_000_000_000, true))),
            ("x", None),
        ] {
            assert_eq!(decimal(text), expected, "{text}");
        }
    }
}
