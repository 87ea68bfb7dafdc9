//! The arithmetic of cost: usage times rates, in integers of 1e-12 USD.
//!
//! Invariants: no token is billed twice (details are parts of the whole, and are clamped to it), none is billed
//! negatively, and an unknown input or output price makes the whole cost unknown.

use super::price::{Price, Rates, ServiceTier, SizeTier};
use crate::chat::Usage;
use crate::money::Usd;

impl ServiceTier {
    /// The tier of an API's `service_tier`; `None` for the ordinary one.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            "batch" => Self::Batch,
            _ => return None,
        })
    }
}

impl Rates {
    /// `self` where it has a rate, else `base`.
    fn over(&self, base: &Self) -> Self {
        Self {
            input: self.input.or(base.input),
            output: self.output.or(base.output),
            cache_read: self.cache_read.or(base.cache_read),
            cache_write_5m: self.cache_write_5m.or(base.cache_write_5m),
            cache_write_1h: self.cache_write_1h.or(base.cache_write_1h),
            reasoning: self.reasoning.or(base.reasoning),
            audio_input: self.audio_input.or(base.audio_input),
            audio_output: self.audio_output.or(base.audio_output),
            image_input: self.image_input.or(base.image_input),
            image_output: self.image_output.or(base.image_output),
        }
    }
}

impl Rates {
    /// True when no rate costs anything.
    fn is_free(&self) -> bool {
        let Self { input, output, cache_read, cache_write_5m, cache_write_1h, .. } = *self;
        let Self { reasoning, audio_input, audio_output, image_input, image_output, .. } = *self;
        let text = [input, output, cache_read, cache_write_5m, cache_write_1h];
        let other = [reasoning, audio_input, audio_output, image_input, image_output];
        text.into_iter().chain(other).flatten().all(Usd::is_zero)
    }
}

/// The rates of the largest size tier that the prompt exceeds.
fn sized(tiers: &[SizeTier], prompt: u64) -> Option<&Rates> {
    tiers.iter().filter(|tier| prompt > tier.above).max_by_key(|tier| tier.above).map(|tier| &tier.rates)
}

/// Takes up to `part` out of what is left of a whole.
fn take(left: &mut u64, part: u64) -> u64 {
    let taken = part.min(*left);
    *left -= taken;
    taken
}

impl Price {
    /// The rates that apply to a prompt of this size, served at this tier.
    fn rates_for(&self, prompt: u64, tier: Option<ServiceTier>) -> Rates {
        let mut rates = self.rates.clone();
        if let Some(larger) = sized(&self.above, prompt) {
            rates = larger.over(&rates);
        }
        let Some(tier) = tier.and_then(|tier| self.service.get(&tier)) else { return rates };
        rates = tier.rates.over(&rates);
        match sized(&tier.above, prompt) {
            Some(larger) => larger.over(&rates),
            None => rates,
        }
    }

    /// What a usage costs; `None` when the input or output rate is unknown.
    pub fn cost(&self, usage: &Usage, tier: Option<ServiceTier>) -> Option<Usd> {
        let usage = usage.charged();
        let rates = self.rates_for(usage.prompt, tier);
        let (input, output) = (rates.input?, rates.output?);
        let write_5m = rates.cache_write_5m.unwrap_or(input);
        let mut prompt = usage.prompt;
        let mut completion = usage.completion;
        let lines = [
            (take(&mut prompt, usage.cache_read), rates.cache_read.unwrap_or(input)),
            (take(&mut prompt, usage.cache_write_5m), write_5m),
            (take(&mut prompt, usage.cache_write_1h), rates.cache_write_1h.unwrap_or(write_5m)),
            (take(&mut prompt, usage.audio_input), rates.audio_input.unwrap_or(input)),
            (take(&mut prompt, usage.image_input), rates.image_input.unwrap_or(input)),
            (prompt, input),
            (take(&mut completion, usage.reasoning.unwrap_or(0)), rates.reasoning.unwrap_or(output)),
            (take(&mut completion, usage.audio_output), rates.audio_output.unwrap_or(output)),
            (take(&mut completion, usage.image_output), rates.image_output.unwrap_or(output)),
            (completion, output),
            (usage.web_searches, self.web_search.unwrap_or(Usd::ZERO)),
            (1, self.per_request.unwrap_or(Usd::ZERO)),
        ];
        Some(lines.iter().fold(Usd::ZERO, |sum, (count, rate)| sum.plus(rate.times(*count))))
    }

    /// USD per token of a usual mix (three of input to one of output): only for putting offers in order.
    pub fn blended(&self) -> Option<Usd> {
        let (input, output) = (self.rates.input?, self.rates.output?);
        Some(Usd::from_units(input.times(3).plus(output).units() / 4))
    }

    /// True when every rate and fee is known to be nothing, at every size and service tier.
    pub fn is_free(&self) -> bool {
        let known = self.rates.input.is_some() && self.rates.output.is_some();
        let sizes = self.above.iter().map(|tier| &tier.rates);
        let tiers = self
            .service
            .values()
            .flat_map(|tier| std::iter::once(&tier.rates).chain(tier.above.iter().map(|size| &size.rates)));
        let fees = [self.per_request, self.web_search];
        known
            && std::iter::once(&self.rates).chain(sizes).chain(tiers).all(Rates::is_free)
            && fees.into_iter().flatten().all(Usd::is_zero)
    }
}

#[cfg(test)]
mod conformance;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::Billed;

    fn usd(units: i64) -> Option<Usd> {
        Some(Usd::from_units(units))
    }

    fn price() -> Price {
        Price {
            rates: Rates {
                input: usd(100),
                output: usd(1000),
                cache_read: usd(10),
                reasoning: usd(2000),
                ..Rates::default()
            },
            per_request: usd(7),
            above: vec![SizeTier { above: 200, rates: Rates { input: usd(200), ..Rates::default() } }],
            service: [(
                ServiceTier::Flex,
                super::super::TierPrice {
                    rates: Rates { output: usd(500), ..Rates::default() },
                    above: vec![],
                },
            )]
            .into(),
            ..Price::default()
        }
    }

    #[test]
    fn each_token_is_billed_once_at_its_own_rate() {
        let base = Usage { prompt: 100, completion: 10, ..Usage::default() };
        for (usage, tier, expected) in [
            (base, None, 100 * 100 + 10 * 1000 + 7),
            (Usage { cache_read: 40, ..base }, None, 60 * 100 + 40 * 10 + 10 * 1000 + 7),
            (Usage { cache_read: 400, ..base }, None, 100 * 10 + 10 * 1000 + 7),
            (Usage { reasoning: Some(4), ..base }, None, 100 * 100 + 4 * 2000 + 6 * 1000 + 7),
            (Usage { prompt: 200, ..base }, None, 200 * 100 + 10 * 1000 + 7),
            (Usage { prompt: 201, ..base }, None, 201 * 200 + 10 * 1000 + 7),
            (base, Some(ServiceTier::Flex), 100 * 100 + 10 * 500 + 7),
            (base, Some(ServiceTier::Batch), 100 * 100 + 10 * 1000 + 7),
            (Usage { cache_write_1h: 10, ..base }, None, 100 * 100 + 10 * 1000 + 7),
            (
                Usage {
                    cache_read: 40,
                    reasoning: Some(4),
                    billed: Some(Billed { prompt: 3, completion: 2 }),
                    ..base
                },
                None,
                3 * 100 + 2 * 1000 + 7,
            ),
        ] {
            assert_eq!(price().cost(&usage, tier), usd(expected), "{usage:?} {tier:?}");
        }
        assert_eq!(Price::default().cost(&base, None), None);
    }

    #[test]
    fn free_means_that_nothing_costs() {
        let free =
            Price { rates: Rates { input: usd(0), output: usd(0), ..Rates::default() }, ..Price::default() };
        assert!(free.is_free() && !price().is_free() && !Price::default().is_free());
        let dear = Rates { output: usd(1), ..Rates::default() };
        let tier = SizeTier { above: 200, rates: dear.clone() };
        let service = super::super::TierPrice { rates: dear, above: vec![] };
        assert!(!Price { above: vec![tier], ..free.clone() }.is_free());
        assert!(!Price { service: [(ServiceTier::Flex, service)].into(), ..free.clone() }.is_free());
        assert!(!Price { per_request: usd(1), ..free }.is_free());
    }

    proptest! {
        #[test]
        fn a_sum_of_parts_agrees_with_wide_arithmetic(
            prompt in 0_u64..1_000_000, completion in 0_u64..1_000_000,
            cached in 0_u64..2_000_000, reasoning in 0_u64..2_000_000,
            rates in proptest::array::uniform4(0_i64..10_000_000),
        ) {
            let [input, output, read, think] = rates;
            let price = Price { rates: Rates { input: usd(input), output: usd(output), cache_read: usd(read), reasoning: usd(think), ..Rates::default() }, ..Price::default() };
            let usage = Usage { prompt, completion, cache_read: cached, reasoning: Some(reasoning), ..Usage::default() };
            let (cached, reasoning) = (cached.min(prompt), reasoning.min(completion));
            let wide = i128::from(prompt - cached) * i128::from(input) + i128::from(cached) * i128::from(read)
                + i128::from(completion - reasoning) * i128::from(output) + i128::from(reasoning) * i128::from(think);
            prop_assert_eq!(i128::from(price.cost(&usage, None).unwrap().units()), wide);
        }
    }
}
