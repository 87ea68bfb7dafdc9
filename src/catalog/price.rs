//! Prices and the arithmetic of cost. Integers of 1e-12 USD throughout.

use serde::{Deserialize, Serialize};

use crate::money::Usd;

/// Service tiers that vendors price apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
    /// Asynchronous batches.
    Batch,
}

/// USD per token by kind. `None`: not priced apart, the fallback named at the field applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Uncached input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Usd>,
    /// Output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Usd>,
    /// Cached input; else `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Usd>,
    /// Cache writes living 5 minutes; else `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<Usd>,
    /// Cache writes living 1 hour; else `cache_write_5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<Usd>,
    /// Reasoning output; else `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Usd>,
    /// Audio input; else `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<Usd>,
    /// Audio output; else `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<Usd>,
    /// Image input; else `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_input: Option<Usd>,
    /// Image output; else `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_output: Option<Usd>,
}

/// Rates that apply when the whole prompt is longer than a bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeTier {
    /// Applies when prompt tokens exceed this.
    pub above: u64,
    /// Kinds left out keep the base rate.
    pub rates: Rates,
}

/// Rates of one service tier, with their own size tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierPrice {
    /// Kinds left out keep the base rate.
    pub rates: Rates,
    /// Size tiers within this service tier, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<SizeTier>,
}

/// What one offer of a model costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// Base rates, USD per token.
    pub rates: Rates,
    /// USD per request, on top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_request: Option<Usd>,
    /// USD per web search the upstream makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_search: Option<Usd>,
    /// Size tiers, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<SizeTier>,
    /// Service tiers.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub service: std::collections::BTreeMap<ServiceTier, TierPrice>,
}
