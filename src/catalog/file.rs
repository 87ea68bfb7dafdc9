//! The catalogue's own file: one JSON document, prices in USD per million tokens as decimal strings, because that
//! is how vendors publish them. Read strictly: every problem at once, each with its path.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::scale::{is_negative, per_token};
use super::{Capabilities, Capability, Catalog, Model, Offer, Price};
use crate::chat::{Trait, Traits};

/// The shipped catalogue.
const SHIPPED: &str = include_str!("../../config/models.json");

/// One thing wrong with a catalogue file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, e.g. `models[3].offers[0].price.input`.
    pub path: String,
    /// What, and what to do.
    pub message: String,
}

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of the format: 1.
    pub version: u32,
    /// Where the facts come from.
    #[serde(default)]
    pub source: String,
    /// Under what licence.
    #[serde(default)]
    pub license: String,
    /// The models.
    pub models: Vec<ModelEntry>,
}

/// One model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Canonical name.
    pub id: String,
    /// In the auto pool.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto: bool,
    /// Who offers it.
    pub offers: Vec<OfferEntry>,
}

/// One provider's offer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferEntry {
    /// Provider id.
    pub provider: String,
    /// The name sent upstream.
    pub upstream: String,
    /// Tokens that fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Output tokens at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Its controls and habits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<String>,
    /// Retirement day, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires: Option<String>,
    /// USD per million tokens; left out when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl Catalog {
    /// The catalogue that ships with the binary.
    ///
    /// # Errors
    /// Never in a released binary: a test reads it.
    pub fn embedded() -> Result<Self, Vec<Problem>> {
        Self::parse(SHIPPED.as_bytes())
    }

    /// Reads a catalogue file.
    ///
    /// # Errors
    /// Every problem, with its path.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let document: Document = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            vec![Problem { path: error.path().to_string(), message: error.inner().to_string() }]
        })?;
        let mut problems = Vec::new();
        if document.version != 1 {
            let message = format!("version {} is not known; this gateway reads version 1", document.version);
            problems.push(Problem { path: "version".to_owned(), message });
        }
        let mut seen = std::collections::HashSet::new();
        let mut models = Vec::with_capacity(document.models.len());
        for (at, entry) in document.models.into_iter().enumerate() {
            let path = format!("models[{at}]");
            if entry.id.is_empty() || entry.id.contains('/') || entry.id == "auto" {
                problems.push(Problem {
                    path: format!("{path}.id"),
                    message: "a name without `/`, not `auto`".to_owned(),
                });
            }
            if !seen.insert(entry.id.clone()) {
                problems.push(Problem {
                    path: format!("{path}.id"),
                    message: format!("`{}` is there twice", entry.id),
                });
            }
            let mut names = std::collections::HashSet::new();
            for (at, offer) in entry.offers.iter().enumerate() {
                if !names.insert((offer.provider.as_str(), offer.upstream.as_str())) {
                    let message = format!("`{}` of {} is there twice", offer.upstream, offer.provider);
                    problems.push(Problem { path: format!("{path}.offers[{at}]"), message });
                }
            }
            if entry.offers.is_empty() {
                problems.push(Problem {
                    path: format!("{path}.offers"),
                    message: "at least one offer".to_owned(),
                });
            }
            models.push(model(entry, &path, &mut problems));
        }
        if problems.is_empty() { Ok(Self::new(models).from_source(document.source)) } else { Err(problems) }
    }
}

fn model(entry: ModelEntry, path: &str, problems: &mut Vec<Problem>) -> Model {
    let id: Arc<str> = Arc::from(entry.id);
    let offers = entry.offers.into_iter().enumerate();
    let offers = offers
        .map(|(at, entry)| Arc::new(offer(entry, &id, &format!("{path}.offers[{at}]"), problems)))
        .collect();
    Model { id, auto: entry.auto, offers }
}

fn offer(entry: OfferEntry, model: &Arc<str>, path: &str, problems: &mut Vec<Problem>) -> Offer {
    let mut capabilities = Capabilities::NONE;
    for (at, name) in entry.capabilities.iter().enumerate() {
        match Capability::ALL.into_iter().find(|one| one.name() == name) {
            Some(capability) => capabilities.insert(capability),
            None => {
                let names: Vec<&str> = Capability::ALL.into_iter().map(Capability::name).collect();
                let message = format!("`{name}` is none of {}", names.join(", "));
                problems.push(Problem { path: format!("{path}.capabilities[{at}]"), message });
            }
        }
    }
    let mut traits = Traits::default();
    for (at, name) in entry.traits.iter().enumerate() {
        match Trait::ALL.into_iter().find(|one| one.name() == name) {
            Some(known) => traits = traits.with(known),
            None => {
                let names: Vec<&str> = Trait::ALL.into_iter().map(Trait::name).collect();
                let message = format!("`{name}` is none of {}", names.join(", "));
                problems.push(Problem { path: format!("{path}.traits[{at}]"), message });
            }
        }
    }
    let mut problem = |field: &str, message: &str| {
        problems.push(Problem { path: format!("{path}.{field}"), message: message.to_owned() });
    };
    if entry.retires.as_ref().is_some_and(|retires| !is_day(retires)) {
        problem("retires", "a day such as 2027-01-31");
    }
    if entry.provider.is_empty() || entry.provider.contains('/') {
        problem("provider", "a provider id, without `/`");
    }
    if entry.upstream.is_empty() {
        problem("upstream", "the name sent upstream is needed");
    }
    if entry.price.as_ref().is_some_and(is_negative) {
        problem("price", "a price is below zero");
    }
    let price = entry.price.map(|price| {
        per_token(&price).unwrap_or_else(|| {
            let message =
                "a rate has more than 6 digits after the point and cannot be held exactly".to_owned();
            problems.push(Problem { path: format!("{path}.price"), message });
            price
        })
    });
    let upstream = if *entry.upstream == **model { Arc::clone(model) } else { Arc::from(entry.upstream) };
    Offer {
        provider: Arc::from(entry.provider),
        model: Arc::clone(model),
        upstream,
        context_window: entry.context_window,
        max_output: entry.max_output,
        capabilities,
        traits,
        retires: entry.retires.map(Arc::from),
        price: price.map(Arc::new),
    }
}

/// `YYYY-MM-DD`, compared as text elsewhere.
fn is_day(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u32>().ok()
    };
    let separated = text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
    text.len() == 10
        && separated
        && number(0..4).is_some()
        && number(5..7).is_some_and(|month| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day| (1..=31).contains(&day))
}

impl Document {
    /// As a file: one offer per line, in the order given.
    pub fn render(&self) -> String {
        let mut out = format!(
            "{{\"version\":{},\n\"source\":{},\n\"license\":{},\n\"models\":[\n",
            self.version,
            json(&self.source),
            json(&self.license)
        );
        for (at, model) in self.models.iter().enumerate() {
            let auto = if model.auto { ",\"auto\":true" } else { "" };
            let offers: Vec<String> = model.offers.iter().map(|offer| format!("  {}", json(offer))).collect();
            let comma = if at + 1 < self.models.len() { "," } else { "" };
            let id = json(&model.id);
            out.push_str(&format!("{{\"id\":{id}{auto},\"offers\":[\n{}]}}{comma}\n", offers.join(",\n")));
        }
        out.push_str("]}\n");
        out
    }
}

/// One line of JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        Catalog::parse(text.as_bytes()).unwrap_err().into_iter().map(|problem| problem.path).collect()
    }

    fn one(offer: &str) -> String {
        format!(r#"{{"version":1,"models":[{{"id":"m","offers":[{offer}]}}]}}"#)
    }

    #[test]
    fn every_problem_of_a_file_is_told_with_its_path() {
        let text = r#"{"version":2,"models":[
            {"id":"a/b","offers":[{"provider":"p","upstream":"","capabilities":["tools","fly"]}]},
            {"id":"auto","offers":[]},
            {"id":"m","offers":[{"provider":"p/q","upstream":"u"},{"provider":"p/q","upstream":"u"}]},
            {"id":"m","offers":[{"provider":"p","upstream":"u","retires":"2027-13-01"}]}]}"#;
        let expected = [
            "version",
            "models[0].id",
            "models[0].offers[0].capabilities[1]",
            "models[0].offers[0].upstream",
            "models[1].id",
            "models[1].offers",
            "models[2].offers[1]",
            "models[2].offers[0].provider",
            "models[2].offers[1].provider",
            "models[3].id",
            "models[3].offers[0].retires",
        ];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn a_price_is_a_decimal_string_that_can_be_held_exactly_and_is_not_below_zero() {
        let price = |rate: &str| {
            one(&format!(r#"{{"provider":"p","upstream":"u","price":{{"rates":{{"input":{rate}}}}}}}"#))
        };
        assert!(Catalog::parse(price("\"0.000001\"").as_bytes()).is_ok());
        for rate in ["\"0.0000001\"", "\"-1\"", "0.1", "\"1e3\"", "\"\""] {
            let found = paths(&price(rate));
            assert!(found[0].starts_with("models[0].offers[0].price"), "{rate}: {found:?}");
        }
    }

    #[test]
    fn a_day_is_a_day() {
        for (day, is) in [
            ("2027-01-31", true),
            ("2027-00-31", false),
            ("2027-01-32", false),
            ("----------", false),
            ("2027/01/31", false),
            ("2027-1-31", false),
            ("2027-01-3é", false),
        ] {
            assert_eq!(is_day(day), is, "{day}");
        }
    }

    #[test]
    fn a_canonical_name_means_its_own_model_although_another_is_called_so_upstream() {
        let text = r#"{"version":1,"models":[
            {"id":"m","offers":[{"provider":"p","upstream":"own"}]},
            {"id":"n","offers":[{"provider":"p","upstream":"m"},{"provider":"p","upstream":"n2"}]}]}"#;
        let catalog = Catalog::parse(text.as_bytes()).unwrap();
        let upstream = |name: &str| catalog.offer("p", name).map(|offer| offer.upstream.to_string());
        assert_eq!(upstream("m").as_deref(), Some("own"));
        assert_eq!(upstream("n").as_deref(), Some("m"));
        assert_eq!(upstream("n2").as_deref(), Some("n2"));
        assert_eq!(upstream("o"), None);
    }
}
