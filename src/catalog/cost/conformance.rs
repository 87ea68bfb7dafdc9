//! The arithmetic of cost against decimal numbers: the same bill, added up line by line as a person would.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::super::price::{Price, Rates, ServiceTier, SizeTier, TierPrice};
use crate::chat::Usage;
use crate::money::{Markup, Usd};

/// Rates up to 0.01 USD per token.
fn rates(input: bool) -> impl Strategy<Value = Rates> {
    let rate = || 0_i64..10_000_000_000;
    (vec(of(rate()), 10), rate(), rate()).prop_map(move |(some, first, second)| {
        let mut some = some.into_iter().map(|units| units.map(Usd::from_units));
        let mut next = || some.next().flatten();
        let mut rates = Rates {
            input: next(),
            output: next(),
            cache_read: next(),
            cache_write_5m: next(),
            cache_write_1h: next(),
            reasoning: next(),
            audio_input: next(),
            audio_output: next(),
            image_input: next(),
            image_output: next(),
        };
        if input {
            rates.input = Some(Usd::from_units(first));
            rates.output = Some(Usd::from_units(second));
        }
        rates
    })
}

fn sizes() -> impl Strategy<Value = Vec<SizeTier>> {
    vec((0_u64..300_000, rates(false)).prop_map(|(above, rates)| SizeTier { above, rates }), 0..3)
}

fn prices() -> impl Strategy<Value = Price> {
    let fee = || of((0_i64..1_000_000_000_000).prop_map(Usd::from_units));
    (rates(true), sizes(), of((rates(false), sizes())), fee(), fee()).prop_map(
        |(rates, above, flex, per_request, web_search)| {
            let service = flex.map(|(rates, above)| (ServiceTier::Flex, TierPrice { rates, above }));
            Price { rates, per_request, web_search, above, service: service.into_iter().collect() }
        },
    )
}

fn usages() -> impl Strategy<Value = Usage> {
    let tokens = || 0_u64..400_000;
    (tokens(), tokens(), vec(0_u64..200_000, 8), of(tokens()), 0_u64..20).prop_map(
        |(prompt, completion, parts, reasoning, web_searches)| Usage {
            prompt,
            completion,
            cache_read: parts[0],
            cache_write_5m: parts[1],
            cache_write_1h: parts[2],
            audio_input: parts[3],
            image_input: parts[4],
            audio_output: parts[5],
            image_output: parts[6],
            reasoning,
            web_searches,
            ..Usage::default()
        },
    )
}

fn decimal(amount: Usd) -> Decimal {
    amount.to_string().parse().unwrap()
}

/// The largest tier below a prompt, looked for from the other end than the code does.
fn larger(tiers: &[SizeTier], prompt: u64) -> Option<&Rates> {
    let mut fitting: Vec<&SizeTier> = tiers.iter().filter(|tier| tier.above < prompt).collect();
    fitting.sort_by_key(|tier| tier.above);
    // Of two with the same bound the later one counts.
    fitting.last().map(|tier| &tier.rates)
}

/// Tokens of a kind that is priced apart, and their rate.
type Part = (u64, Usd);

/// A bill, line by line.
fn bill(price: &Price, usage: &Usage, tier: Option<ServiceTier>) -> Decimal {
    let service = tier.and_then(|tier| price.service.get(&tier));
    let mut layers = vec![&price.rates];
    layers.extend(larger(&price.above, usage.prompt));
    layers.extend(service.map(|service| &service.rates));
    layers.extend(service.and_then(|service| larger(&service.above, usage.prompt)));
    let rate = |of: fn(&Rates) -> Option<Usd>| layers.iter().rev().find_map(|rates| of(rates));
    let input = rate(|rates| rates.input).unwrap();
    let output = rate(|rates| rates.output).unwrap();
    let write = rate(|rates| rates.cache_write_5m).unwrap_or(input);
    let sides: [(u64, Usd, Vec<Part>); 2] = [
        (
            usage.prompt,
            input,
            vec![
                (usage.cache_read, rate(|rates| rates.cache_read).unwrap_or(input)),
                (usage.cache_write_5m, write),
                (usage.cache_write_1h, rate(|rates| rates.cache_write_1h).unwrap_or(write)),
                (usage.audio_input, rate(|rates| rates.audio_input).unwrap_or(input)),
                (usage.image_input, rate(|rates| rates.image_input).unwrap_or(input)),
            ],
        ),
        (
            usage.completion,
            output,
            vec![
                (usage.reasoning.unwrap_or(0), rate(|rates| rates.reasoning).unwrap_or(output)),
                (usage.audio_output, rate(|rates| rates.audio_output).unwrap_or(output)),
                (usage.image_output, rate(|rates| rates.image_output).unwrap_or(output)),
            ],
        ),
    ];
    let mut sum = Decimal::ZERO;
    for (whole, plain, parts) in sides {
        let mut left = whole;
        for (count, rate) in parts {
            let counted = count.min(left);
            left -= counted;
            sum += Decimal::from(counted) * decimal(rate);
        }
        sum += Decimal::from(left) * decimal(plain);
    }
    sum += Decimal::from(usage.web_searches) * decimal(price.web_search.unwrap_or_default());
    sum + decimal(price.per_request.unwrap_or_default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn cost_is_what_decimal_numbers_add_up_to(price in prices(), usage in usages(), flex in any::<bool>()) {
        let tier = flex.then_some(ServiceTier::Flex);
        let cost = price.cost(&usage, tier).unwrap();
        prop_assert_eq!(decimal(cost), bill(&price, &usage, tier).normalize());
    }

    #[test]
    fn a_markup_is_that_percentage_rounded_once(units in 0_i64..1_000_000_000_000_000, points in -10_000_i32..100_000) {
        let charged = Markup::from_basis_points(points).unwrap().charged(Usd::from_units(units));
        let exact = Decimal::from(units) * (Decimal::ONE + Decimal::new(points.into(), 4));
        let rounded = exact.round_dp_with_strategy(0, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
        prop_assert_eq!(Decimal::from(charged.units()), rounded.normalize());
    }
}
