//! provisional
use super::{Price, ServiceTier};
use crate::chat::Usage;
use crate::money::Usd;
impl ServiceTier {
    /// x
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "flex" => Some(Self::Flex),
            "priority" => Some(Self::Priority),
            "batch" => Some(Self::Batch),
            _ => None,
        }
    }
}
impl Price {
    /// x
    pub fn cost(&self, usage: &Usage, _tier: Option<ServiceTier>) -> Option<Usd> {
        Some(self.rates.input?.times(usage.prompt).plus(self.rates.output?.times(usage.completion)))
    }
    /// x
    pub fn blended(&self) -> Option<Usd> {
        Some(Usd::from_units((self.rates.input?.units() * 3 + self.rates.output?.units()) / 4))
    }
    /// x
    pub fn is_free(&self) -> bool {
        self.rates.input == Some(Usd::ZERO) && self.rates.output == Some(Usd::ZERO)
    }
}
