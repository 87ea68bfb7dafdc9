//! Prices per million tokens, as files have them, to prices per token, as arithmetic has them, and back. Exact.

use super::{Price, Rates, SizeTier, TierPrice};
use crate::money::Usd;

/// Tokens that a file's price is for.
const MILLION: i64 = 1_000_000;

/// Per token; `None` when a rate is not a whole number of 1e-12 USD per token.
pub fn per_token(price: &Price) -> Option<Price> {
    scale(price, |rate| (rate.units() % MILLION == 0).then(|| Usd::from_units(rate.units() / MILLION)))
}

/// True when a rate or a fee is below zero.
pub fn is_negative(price: &Price) -> bool {
    let sound = |rate: Usd| (rate.units() >= 0).then_some(rate);
    let fees = [price.per_request, price.web_search];
    scale(price, sound).is_none() || fees.into_iter().flatten().any(|fee| sound(fee).is_none())
}

/// Per million.
pub fn per_million(price: &Price) -> Price {
    scale(price, |rate| Some(rate.times(MILLION.unsigned_abs()))).unwrap_or_default()
}

/// Applies `change` to every rate; fees per request and per search are amounts already.
fn scale(price: &Price, change: impl Fn(Usd) -> Option<Usd> + Copy) -> Option<Price> {
    let tiers = |tiers: &[SizeTier]| -> Option<Vec<SizeTier>> {
        tiers
            .iter()
            .map(|tier| Some(SizeTier { above: tier.above, rates: scale_rates(&tier.rates, change)? }))
            .collect()
    };
    let service = price.service.iter().map(|(tier, one)| {
        Some((*tier, TierPrice { rates: scale_rates(&one.rates, change)?, above: tiers(&one.above)? }))
    });
    Some(Price {
        rates: scale_rates(&price.rates, change)?,
        per_request: price.per_request,
        web_search: price.web_search,
        above: tiers(&price.above)?,
        service: service.collect::<Option<_>>()?,
    })
}

fn scale_rates(rates: &Rates, change: impl Fn(Usd) -> Option<Usd>) -> Option<Rates> {
    let change = |rate: Option<Usd>| rate.map_or(Some(None), |rate| change(rate).map(Some));
    Some(Rates {
        input: change(rates.input)?,
        output: change(rates.output)?,
        cache_read: change(rates.cache_read)?,
        cache_write_5m: change(rates.cache_write_5m)?,
        cache_write_1h: change(rates.cache_write_1h)?,
        reasoning: change(rates.reasoning)?,
        audio_input: change(rates.audio_input)?,
        audio_output: change(rates.audio_output)?,
        image_input: change(rates.image_input)?,
        image_output: change(rates.image_output)?,
    })
}
