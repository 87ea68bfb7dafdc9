//! What an attempt may cost: the bound that is reserved before it is sent.

use std::sync::Arc;

use super::Purse;
use crate::catalog::{Offer, ServiceTier};
use crate::chat::Usage;
use crate::money::{Markup, Usd};

/// Output tokens that an answer is expected to take when neither the request nor experience says.
const OUTPUT_UNKNOWN: u64 = 4_096;
/// Output tokens that a stream pays for ahead of what was delivered: what it may overspend at most, and how often it
/// asks for more.
pub const STEP_TOKENS: u64 = 256;

/// What is asked of a model.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Tokens of the prompt, roughly.
    pub prompt: u64,
    /// `max_tokens`, if it was given.
    pub max_output: Option<u64>,
    /// Choices.
    pub n: u32,
    /// The service tier that was asked for.
    pub tier: Option<ServiceTier>,
}

/// What to reserve for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// For the whole answer.
    pub whole: Usd,
    /// For its beginning: enough for an answer that can be ended when no more can be had.
    pub start: Usd,
}

impl Bound {
    /// The bound of an offer; nothing where there is no price.
    pub fn of(offer: Option<&Offer>, asked: &Size, markup: Markup, payer: Option<&Arc<Purse>>) -> Self {
        let Some((offer, price)) = offer.and_then(|offer| Some((offer, offer.price.as_deref()?))) else {
            return Self { whole: Usd::ZERO, start: Usd::ZERO };
        };
        let usual = || payer.and_then(|payer| payer.learned().usual_most(&offer.model));
        let output = asked.max_output.or_else(usual).unwrap_or(OUTPUT_UNKNOWN);
        let output = output.min(offer.max_output.unwrap_or(u64::MAX));
        let cost = |completion: u64| {
            let completion = completion.saturating_mul(u64::from(asked.n.max(1)));
            let usage = Usage { prompt: asked.prompt, completion, ..Usage::default() };
            markup.charged(price.cost(&usage, asked.tier).unwrap_or_default())
        };
        Self { whole: cost(output), start: cost(output.min(STEP_TOKENS)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Capabilities, Price, Rates};
    use crate::chat::Traits;

    fn offer(max_output: Option<u64>) -> Offer {
        let usd = |units| Some(Usd::from_units(units));
        let rates = Rates { input: usd(1), output: usd(10), ..Rates::default() };
        Offer {
            provider: "p".into(),
            model: "m".into(),
            upstream: "m".into(),
            context_window: None,
            max_output,
            capabilities: Capabilities::NONE,
            traits: Traits::default(),
            retires: None,
            price: Some(Arc::new(Price { rates, ..Price::default() })),
        }
    }

    #[test]
    fn the_bound_is_what_was_asked_or_is_usual_or_the_model_can_do() {
        let asked = Size { prompt: 100, max_output: None, n: 1, tier: None };
        let whole = |offer: &Offer, asked: &Size, payer: Option<&Arc<Purse>>| {
            Bound::of(Some(offer), asked, Markup::default(), payer).whole.units()
        };
        assert_eq!(whole(&offer(None), &asked, None), 100 + 40_960);
        assert_eq!(whole(&offer(Some(1_000)), &asked, None), 100 + 10_000);
        assert_eq!(whole(&offer(None), &Size { max_output: Some(7), ..asked }, None), 170);
        assert_eq!(whole(&offer(None), &Size { max_output: Some(7), n: 3, ..asked }, None), 310);
        let purse = Purse::new("this key".into(), Arc::default());
        (0..50).for_each(|_| purse.learned().note(&"m".into(), 60));
        assert_eq!(whole(&offer(None), &asked, Some(&purse)), 100 + 640);
        let bound = Bound::of(Some(&offer(None)), &asked, Markup::parse("100").unwrap(), None);
        assert_eq!(bound.start.units(), 2 * (100 + 2_560));
        let nothing = Bound { whole: Usd::ZERO, start: Usd::ZERO };
        assert_eq!(Bound::of(None, &asked, Markup::default(), None), nothing);
    }
}
