//! The catalogue in memory: lookups by canonical name and by provider and name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Model, Offer};

/// Names compared at most when looking for a near miss.
const NEAREST_MAX: usize = 10_000;

/// Longest name that a near miss is looked for, bytes: the search costs its length times the catalogue's.
const NEAREST_BYTES_MAX: usize = 96;

/// Every model, and every provider's offers by canonical and upstream name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    models: BTreeMap<Arc<str>, Arc<Model>>,
    offers: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Offer>>>,
    source: String,
}

impl Catalog {
    /// Indexes models. A canonical name wins over another model's upstream name.
    pub fn new(models: Vec<Model>) -> Self {
        let mut catalog = Self::default();
        for model in models {
            for offer in &model.offers {
                let names = catalog.offers.entry(Arc::clone(&offer.provider)).or_default();
                names.entry(Arc::clone(&offer.upstream)).or_insert_with(|| Arc::clone(offer));
            }
            catalog.models.insert(Arc::clone(&model.id), Arc::new(model));
        }
        for model in catalog.models.values() {
            // The first offer of a provider is the one its canonical name means.
            for offer in model.offers.iter().rev() {
                if let Some(names) = catalog.offers.get_mut(&offer.provider) {
                    names.insert(Arc::clone(&model.id), Arc::clone(offer));
                }
            }
        }
        catalog
    }

    /// The same, saying where its prices came from.
    #[must_use]
    pub fn from_source(self, source: String) -> Self {
        Self { source, ..self }
    }

    /// Where the prices came from, as the file says.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A model by its canonical name.
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }

    /// A provider's offer by canonical or upstream name. Vendors do not all mind case, so a name in another case is the
    /// same name: or else it would be a way around a key's rules, and unpriced.
    pub fn offer(&self, provider: &str, name: &str) -> Option<&Arc<Offer>> {
        let names = self.offers.get(provider)?;
        let folded = || {
            let same = names.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
            same.min_by_key(|(known, _)| Arc::clone(known)).map(|(_, offer)| offer)
        };
        names.get(name).or_else(folded)
    }

    /// All models by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The models that `auto` picks from.
    pub fn auto_pool(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values().filter(|model| model.auto)
    }

    /// The canonical name closest to what was asked: the model that a provider calls so, else the nearest spelling.
    pub fn nearest(&self, asked: &str) -> Option<&str> {
        const CLOSE: f64 = 0.84;
        if asked.is_empty() || asked.len() > NEAREST_BYTES_MAX {
            return None;
        }
        let own = |upstream: &str| upstream.rsplit('/').next().is_some_and(|n| n.eq_ignore_ascii_case(asked));
        let named = |model: &&Arc<Model>| model.offers.iter().any(|offer| own(&offer.upstream));
        let models = || self.models.values().take(NEAREST_MAX);
        if let Some(model) = models().find(|model| model.id.eq_ignore_ascii_case(asked)) {
            return Some(&model.id);
        }
        if let Some(model) = models().find(named) {
            return Some(&model.id);
        }
        let lower = asked.to_lowercase();
        // A difference in length alone can rule a name out, at a fraction of the cost.
        let near = |id: &str| id.len().abs_diff(lower.len()) * 100 <= 16 * id.len().max(lower.len());
        let score = |id: &str| strsim::normalized_damerau_levenshtein(id, &lower);
        let scored = self.models.keys().take(NEAREST_MAX).filter(|id| near(id)).map(|id| (score(id), id));
        let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (best.0 >= CLOSE).then_some(&**best.1)
    }
}
