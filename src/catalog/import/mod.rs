//! `models import`: LiteLLM's public price file becomes our catalogue. Says what it took and what it left, and why.

mod canonical;
mod entry;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::canonical::canonical;
use super::file::{Document, ModelEntry, OfferEntry};

/// LiteLLM's provider -> ours, and the prefix it puts before the upstream name.
#[rustfmt::skip]
const PROVIDERS: &[(&str, &str, &str)] = &[
    ("openai", "openai", ""), ("azure", "azure", "azure/"), ("anthropic", "anthropic", ""),
    ("gemini", "gemini", "gemini/"), ("vertex_ai-language-models", "vertex", "vertex_ai/"),
    ("vertex_ai-anthropic_models", "vertex", "vertex_ai/"), ("bedrock", "bedrock", "bedrock/"),
    ("bedrock_converse", "bedrock", "bedrock/"), ("mistral", "mistral", "mistral/"), ("groq", "groq", "groq/"),
    ("deepseek", "deepseek", "deepseek/"), ("xai", "xai", "xai/"), ("together_ai", "together", "together_ai/"),
    ("fireworks_ai", "fireworks", "fireworks_ai/"), ("cerebras", "cerebras", "cerebras/"),
    ("perplexity", "perplexity", "perplexity/"), ("cohere_chat", "cohere", ""), ("deepinfra", "deepinfra", "deepinfra/"),
    ("novita", "novita", "novita/"), ("nebius", "nebius", "nebius/"), ("sambanova", "sambanova", "sambanova/"),
    ("hyperbolic", "hyperbolic", "hyperbolic/"), ("moonshot", "moonshot", "moonshot/"), ("zai", "zai", "zai/"),
    ("minimax", "minimax", "minimax/"), ("dashscope", "alibaba", "dashscope/"), ("lambda_ai", "lambda", "lambda_ai/"),
    ("wandb", "wandb", "wandb/"), ("baseten", "baseten", "baseten/"), ("cloudflare", "cloudflare", "cloudflare/"),
    ("ollama", "ollama", "ollama/"), ("openrouter", "openrouter", "openrouter/"),
];

/// Our providers whose models may be asked through the Responses API, where they are served only there.
const RESPONSES: &[&str] = &["openai", "azure", "xai"];

/// The pool that `auto` picks from: good general chat models of several houses.
const AUTO: &[&str] = &[
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-4.1-mini",
    "gpt-4o-mini",
    "claude-haiku-4-5",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "llama-3.3-70b",
    "gpt-oss-120b",
    "gpt-oss-20b",
    "deepseek-v4-flash",
    "deepseek-v3.1",
    "deepseek-v3.2",
    "mistral-small",
    "mistral-medium",
    "kimi-k2.6",
    "kimi-k2.5",
    "glm-4.6",
    "glm-4.7",
    "glm-4.5-flash",
    "glm-4.7-flash",
    "qwen3-32b",
    "grok-4.3",
    "minimax-m2",
    "minimax-m2.5",
    "qwen-flash",
    "qwen3.8-flash",
    "qwen3.8-27b",
    "command-r-08-2024",
];

/// What an import did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Entries taken as offers.
    pub taken: usize,
    /// Entries left: reason -> their names.
    pub left: BTreeMap<String, Vec<String>>,
    /// Prices that had to be rounded to 1e-12 USD per token: entry and field.
    pub rounded: Vec<String>,
    /// Corrections that are about no model of the file.
    pub unused: Vec<String>,
}

/// Corrections to LiteLLM's facts: canonical or `provider/upstream` -> capabilities that recorded traffic proves.
pub type Overlay = BTreeMap<String, Vec<String>>;

/// Reads LiteLLM's JSON.
///
/// # Errors
/// One line: it is not a price file, or a correction names no capability.
pub fn import(bytes: &[u8], overlay: &Overlay) -> Result<(Document, Report), String> {
    let entries: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| format!("not LiteLLM's price file: {error}"))?;
    let mut report = Report::default();
    let mut models: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for (key, value) in &entries {
        match read(key, value, &mut report) {
            Ok(found) => {
                let offers = models.entry(found.canonical.clone()).or_default();
                let same = |other: &Found| {
                    other.offer.provider == found.offer.provider
                        && other.offer.upstream == found.offer.upstream
                };
                if offers.iter().any(same) {
                    leave(&mut report, "listed twice", key);
                } else {
                    offers.push(found);
                }
            }
            Err(reason) => leave(&mut report, &reason, key),
        }
    }
    if models.is_empty() {
        return Err(
            "not LiteLLM's price file: no entry is a chat model of a provider that is known".to_owned()
        );
    }
    report.unused = check_overlay(overlay, &models)?;
    report.taken = models.values().map(Vec::len).sum();
    let models = models.into_iter().map(|(id, offers)| finish(id, offers, overlay)).collect();
    let document = Document {
        version: 1,
        source: "LiteLLM model_prices_and_context_window".to_owned(),
        license: "MIT, Copyright (c) 2023 Berri AI".to_owned(),
        models,
    };
    Ok((document, report))
}

/// Checks the corrections; gives those that are about nothing in this file.
fn check_overlay(overlay: &Overlay, models: &BTreeMap<String, Vec<Found>>) -> Result<Vec<String>, String> {
    for (name, capabilities) in overlay {
        if let Some(odd) = capabilities.iter().find(|one| !entry::CAPABILITIES.contains(&one.as_str())) {
            return Err(format!(
                "the correction of `{name}` names `{odd}`, which is none of {}",
                entry::CAPABILITIES.join(", ")
            ));
        }
    }
    let hits = |name: &str| {
        let same = |found: &Found| format!("{}/{}", found.offer.provider, found.offer.upstream) == name;
        models.contains_key(name) || models.values().flatten().any(same)
    };
    Ok(overlay.keys().filter(|name| !hits(name)).cloned().collect())
}

/// One entry as an offer, its explicit capabilities told apart from those nobody mentions.
struct Found {
    canonical: String,
    offer: OfferEntry,
    claims: entry::Claims,
}

fn leave(report: &mut Report, reason: &str, key: &str) {
    report.left.entry(reason.to_owned()).or_default().push(key.to_owned());
}

/// Reads one entry, or says why it is left.
fn read(key: &str, value: &Value, report: &mut Report) -> Result<Found, String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let responses = match text("mode") {
        Some("chat") => false,
        Some("responses") => true,
        Some(mode) => return Err(format!("mode {mode}")),
        None => return Err("no mode".to_owned()),
    };
    let theirs = text("litellm_provider").unwrap_or("none");
    let row = PROVIDERS.iter().find(|(name, ..)| *name == theirs);
    let (_, provider, prefix) = row.ok_or_else(|| format!("provider {theirs}"))?;
    if responses && !RESPONSES.contains(provider) {
        return Err("served by the Responses API only".to_owned());
    }
    let upstream = key.strip_prefix(prefix).unwrap_or(key);
    if *provider == "bedrock" && upstream.contains('/') || *provider == "azure" && upstream.contains('/') {
        return Err("price of one region".to_owned());
    }
    if *provider == "fireworks" && upstream.contains('-') && upstream.starts_with("fireworks-ai-")
        || *provider == "together" && upstream.starts_with("together-ai-")
        || upstream.contains("ft:")
    {
        return Err("a price class, not a model".to_owned());
    }
    // The price of a code interpreter session, which LiteLLM lists as a chat model.
    if upstream == "container" || upstream.ends_with("/container") {
        return Err("a tool's price, not a model".to_owned());
    }
    if upstream.contains("/routers/") {
        return Err("a router of the provider's, not a model".to_owned());
    }
    if *provider == "perplexity" && upstream.contains('/') {
        return Err("a model of another house, through the Agent API".to_owned());
    }
    let upstream = if *provider == "fireworks" && !upstream.contains('/') {
        format!("accounts/fireworks/models/{upstream}")
    } else {
        upstream.to_owned()
    };
    let (offer, claims, rounded) = entry::offer(provider, &upstream, value);
    report.rounded.extend(rounded.into_iter().map(|field| format!("{key}: {field}")));
    Ok(Found { canonical: canonical(provider, &upstream), offer, claims })
}

/// Settles a model's capabilities: what a sibling offer has explicitly, an offer that is silent has too.
fn finish(id: String, found: Vec<Found>, overlay: &Overlay) -> ModelEntry {
    let anywhere: Vec<&'static str> = entry::CAPABILITIES
        .iter()
        .filter(|name| found.iter().any(|one| one.claims.get(*name) == Some(&true)))
        .copied()
        .collect();
    let settle = |mut one: Found| {
        let pinned = format!("{}/{}", one.offer.provider, one.offer.upstream);
        let proven: Vec<&String> =
            [&id, &pinned].into_iter().filter_map(|key| overlay.get(key)).flatten().collect();
        for name in entry::CAPABILITIES {
            let claimed = one.claims.get(name).copied().unwrap_or(anywhere.contains(name));
            if claimed || proven.iter().any(|proven| proven == name) {
                one.offer.capabilities.push((*name).to_owned());
            }
        }
        one.offer
    };
    let offers: Vec<OfferEntry> = found.into_iter().map(settle).collect();
    ModelEntry { auto: AUTO.contains(&id.as_str()), offers, id }
}

#[cfg(test)]
mod tests;
